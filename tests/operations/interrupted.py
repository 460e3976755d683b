"""`imgassets`, which comes to a standstill at one partition of its arrays and says so; arguments after the mode.

Modes: `sleep` where a signal is heard at once; `hang` where one is not heard for a minute; `bookkeeping`, a signal
while Dagster records what a run did; `again`, as `hang`, with all the time in the world.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import Any

import dagster._core.execution.api as api

from imgassets import interrupts
from imgassets.commit import Stage
from imgassets.io.arrays import ArraysIOManager

LAST = "train_data_batch_3"
BEGUN = "here-it-stands"


def main() -> None:
    mode = sys.argv.pop(1)
    interrupts.LIMIT = 60 if mode == "again" else 1
    write = ArraysIOManager.write

    def stand(self: ArraysIOManager, content: Any, stage: Stage) -> Any:
        if mode == "bookkeeping" or not stage.location.path.name.startswith(LAST):
            return write(self, content, stage)
        with stage.create("half") as sink:
            sink.write(b"half of it")
            Path(os.environ["DAGSTER_HOME"], BEGUN).touch()
            try:
                time.sleep(60)
            finally:
                if mode != "sleep":
                    time.sleep(60)

    def end(event: Any, _: Any) -> None:
        if mode == "bookkeeping" and event.is_step_success:
            os.kill(os.getpid(), signal.SIGINT)

    ArraysIOManager.write = stand  # type: ignore[method-assign]
    api.log_dagster_event = end  # type: ignore[assignment]
    from imgassets.cli import main as command

    command(prog_name="imgassets")


if __name__ == "__main__":
    main()
