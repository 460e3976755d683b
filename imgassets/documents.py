"""JSON that others wrote."""

from __future__ import annotations

import json
import math
from typing import Any


def parse(raw: bytes | str, *, finite: bool = False) -> Any:
    """What a document says; whatever is wrong with it is a ValueError, brackets within brackets without end too.

    `finite` refuses what Python's JSON has beyond JSON, NaN and the infinities: for what will be written again.
    """
    numbers: dict[str, Any] = {"parse_constant": _finite, "parse_float": _finite} if finite else {}
    try:
        return json.loads(raw, **numbers)
    except RecursionError as error:
        raise ValueError("its brackets are nested too deeply") from error


def _finite(text: str) -> float:
    number = float(text)
    if not math.isfinite(number):
        raise ValueError(f"{text} is no number of JSON's")
    return number
