"""Jobs that a guide knows as one command: the stages of a dataset in order."""

import dagster as dg

from imgassets.operations.stages import stages_job

STAGES = ("imagenet64/npz_index", "imagenet64/arrays", "imagenet64/csv_sample")


@dg.definitions
def full() -> dg.Definitions:
    """The job `full`."""
    return dg.Definitions(jobs=[stages_job("full", STAGES, "Index, arrays and CSV samples of all batches, in order.")])
