"""JSON that others wrote."""

from __future__ import annotations

import json
from typing import Any


def parse(raw: bytes | str) -> Any:
    """What a document says; whatever is wrong with it is a ValueError, brackets within brackets without end too."""
    try:
        return json.loads(raw)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error
