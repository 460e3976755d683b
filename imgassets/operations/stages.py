"""The guides' full mode: a dataset's stages one after the other, each as backfills of its own."""

from collections.abc import Sequence

import dagster as dg
from pydantic import Field

from imgassets.errors import one_line
from imgassets.operations.backfill import accepts, backfill
from imgassets.operations.selection import select


class StagesConfig(dg.Config):
    """Run configuration of a job that runs stages in order."""

    force: bool = Field(default=False, description="Build again, also what is proven to be there and unchanged.")


def stages_job(name: str, stages: Sequence[str], description: str) -> dg.JobDefinition:
    """A job that makes all partitions of `stages` (asset keys) in order.

    Assets of different partitions cannot share a job, so this one starts a run per stage; they are listed under Runs.
    A partition that fails keeps no other from being made; the job fails in the end and names each.
    """

    @dg.op(name=f"{name}_stages", description=description)
    def run_stages(context: dg.OpExecutionContext, config: StagesConfig) -> None:
        failed: dict[str, str] = {}
        for stage in stages:
            (asset,) = select(stage)
            settings = {"force": config.force}
            outcome = backfill(
                asset,
                asset.keys(context.instance),
                context.instance,
                config=settings if accepts(asset, settings) else None,
            )
            context.log.info(
                "%s: %d built, %d unchanged, %d failed",
                stage,
                len(outcome.built),
                len(outcome.unchanged),
                len(outcome.failed),
            )
            failed |= {f"{stage}/{key}": reason for key, reason in outcome.failed.items()}
        if failed:
            name, reason = next(iter(failed.items()))
            text = one_line(f"{len(failed)} partitions failed. {name}: {reason}")
            raise dg.Failure(text, metadata=failed, allow_retries=False)

    @dg.job(name=name, description=description, executor_def=dg.in_process_executor)
    def job() -> None:
        run_stages()

    return job
