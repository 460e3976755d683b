"""Partitions and the ways between them that datasets share."""

import dagster as dg

RUN_SIZE = 128
"""Most partitions in one run of a backfill: bookkeeping falls with it, and 128 divides the 1152 TFRecord shards."""


def static(keys: list[str]) -> dg.StaticPartitionsDefinition:
    """Partitions with fixed keys, in this order."""
    return dg.StaticPartitionsDefinition(keys)


def grouped(groups: dict[str, list[str]]) -> dg.StaticPartitionMapping:
    """Each downstream partition is made from all upstream partitions of its group."""
    return dg.StaticPartitionMapping({part: group for group, parts in groups.items() for part in parts})
