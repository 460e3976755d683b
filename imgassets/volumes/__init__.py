"""CT arithmetic: read a volume, judge it, bring it onto one grid. No Dagster, no network, no paths of its own."""

from __future__ import annotations

from imgassets.volumes.patient import to_patient

__all__ = ["to_patient"]
