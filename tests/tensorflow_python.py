"""The Python that has TensorFlow. It is another environment than the project's own: TensorFlow takes 1.6 GB and asks
for an older h5py, and only tests need it."""

from __future__ import annotations

import os
from pathlib import Path

VARIABLE = "IMGASSETS_TENSORFLOW_PYTHON"


def tensorflow_python() -> Path | None:
    """`$IMGASSETS_TENSORFLOW_PYTHON`, else what `make .venv/tensorflow` made in the checkout; None without either."""
    path = Path(os.environ.get(VARIABLE) or Path(__file__).parents[1] / ".venv" / "tensorflow" / "bin" / "python")
    return path if path.exists() else None


MISSING = f"no TensorFlow: run `make .venv/tensorflow`, or let {VARIABLE} name a Python that has it"
