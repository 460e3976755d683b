"""Who makes the partitions of a run: this process, or others. An engine knows neither Dagster nor any format."""

from imgassets.engines.choice import chosen
from imgassets.engines.local import InProcess
from imgassets.engines.work import Ended, Engine, Order, Work

__all__ = ["Ended", "Engine", "InProcess", "Order", "Work", "chosen"]
