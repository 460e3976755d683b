"""Writing an image store: a source's samples, shard by shard, in any format; what is finished is not done again."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

from imgassets.columns import Columns
from imgassets.commit import Stage, Written
from imgassets.errors import BadInput
from imgassets.sources.base import BadSamples, Source
from imgassets.sources.encoded import Encoded, Only, Pixels
from imgassets.stores.codec import Codec
from imgassets.stores.codecs.guide_layout import FIXED, guide_codec
from imgassets.stores.registry import codec_of
from imgassets.stores.storefile import LISTED, NAME, Shard, StoreInfo, notes, skipped
from imgassets.threads import ordered

Layout = Literal["own", "huggingface", "guide"]
BLOCK_BYTES = 4 << 20
"""About how much is read, decoded and written at a time."""
BLOCK_ROWS = 1024
BLOCKS, FEWEST_ROWS = 16, 64
"""Blocks of a small shard, so that threads share its work, unless they would be of fewer rows than this."""
SHARD_BYTES = 1 << 30
"""About the size of a shard where `images_per_file` is not given."""
RECORDS, SHARD_RECORDS = 1000, 1300
"""Bytes of `store.json` beside its class names, and of what is recorded of each shard, there and on its own."""


@dataclass(frozen=True)
class StorePlan:
    """How a store is to be written."""

    format: str
    """Name of the codec, e.g. `memmap`."""
    images_per_file: int | None = None
    """Samples in a shard; None: as many as make about 1 GiB."""
    on_error: Literal["fail", "skip"] = "fail"
    """What becomes of a store when a sample cannot be used: nothing, or it is left out and listed with the reason."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Settings of the format, e.g. `{"compression": "zstd"}` for Parquet."""
    threads: int = 2
    """Threads that read and decode; they decide nothing about the bytes."""
    layout: Layout = "own"
    """For whom: `huggingface` has images of one size as PNG files, which `datasets` shows as images; `guide` is what
    the conversion guide's own readers read."""
    split: str = "train"
    """What the samples are to be called by programs that read splits, in formats that have a place for it."""

    def __post_init__(self) -> None:
        if self.images_per_file is not None and self.images_per_file < 1:
            raise BadInput(f"images_per_file is {self.images_per_file}: it must be at least 1.")
        if self.on_error not in {"fail", "skip"}:
            raise BadInput(f"on_error is {self.on_error!r}: choose fail or skip.")
        if self.threads < 1:
            raise BadInput(f"threads is {self.threads}: it must be at least 1.")
        if self.layout not in get_args(Layout):
            raise BadInput(f"layout is {self.layout!r}: choose one of {', '.join(get_args(Layout))}.")
        if not re.fullmatch(r"\w{1,40}", self.split):
            raise BadInput(f"split is {self.split!r}: it must be a word of at most 40 letters, such as val.")
        codec_of(self.format)
        self.codec  # noqa: B018  (a layout that the format does not have)

    def prepared(self, source: Source) -> Source:
        """The samples as the layout has them.

        Raises:
            BadInput: it cannot hold them.
        """
        pixels = not source.fields[0].ragged
        if self.layout == "guide" and self.format in FIXED:
            return Pixels(source)
        source = Encoded(source) if self.layout != "own" and pixels else source
        return Only(source) if self.layout == "guide" else source

    @property
    def codec(self) -> Codec:
        """The format's, or that of the layout."""
        return guide_codec(self.format) if self.layout == "guide" else codec_of(self.format)

    def record(self, k: int) -> str:
        """Name of the file that says what shard k is."""
        return self.codec.own(f"shard-{k:06d}.json")

    def shards(self, source: Source) -> list[range]:
        """Which samples belong to which shard."""
        rows = self.images_per_file or max(1, SHARD_BYTES // source.mean_bytes)
        return [range(start, min(start + rows, len(source))) for start in range(0, len(source), rows)]


def estimate(source: Source, plan: StorePlan) -> int:
    """Bytes of a store's files, if every sample can be used; compression is not foreseen."""
    sizes = source.sizes()
    total = RECORDS + sum(len(name.encode()) + len(str(number)) + 8 for name, number in source.class_to_idx.items())
    options = {**plan.options, "classes": _info(source, plan, ()).classes}
    shards = plan.shards(source)
    if plan.codec.beside:
        total += sum(map(len, plan.codec.beside(_info(source, plan, ()), plan.split).values()))
    for rows in shards:
        mine = {name: values[rows.start : rows.stop] for name, values in sizes.items()}
        blocks = -(-len(rows) // _block_rows(source, len(rows)))
        total += plan.codec.weigh(source.fields, len(rows), blocks, mine, options) + SHARD_RECORDS
    return total


def write_store(source: Source, stage: Stage, plan: StorePlan) -> Written:
    """Write all shards of a store, then `store.json`.

    Raises:
        BadInput: a sample cannot be used (`on_error="fail"`), or none can.
    """
    stage.need(source.mean_bytes * len(source))
    shards = [write_shard(source, stage, plan, k) for k in range(len(plan.shards(source)))]
    return finish_store(source, stage, plan, shards)


def write_shard(source: Source, stage: Stage, plan: StorePlan, k: int) -> Shard:
    """Write shard k and its record; one that an earlier attempt finished is left as it is.

    Samples that cannot be used are found when the shard is first written; it is then written again without them, so
    they never move a sample to another shard.
    """
    record = plan.record(k)
    if stage.finished(record):
        return Shard.from_bytes(stage.read(record))
    shards = plan.shards(source)
    stem, indices = plan.codec.stem(plan.split, k, len(shards)), shards[k]
    reasons: dict[int, str] = {}
    counts: Mapping[str, int] = {}
    damaged: Mapping[int, str] = {}
    parts: Sequence[str] = ()
    while good := [index for index in indices if index not in reasons]:
        try:
            counts, damaged, parts = _write(source, stage, plan, stem, good)
            break
        except BadSamples as bad:
            found = bad.reasons if plan.on_error == "fail" else _all_bad(source, good, plan.threads)
            if plan.on_error == "fail":
                index, reason = next(iter(found.items()))
                raise BadInput(
                    f"{source.name(index)} cannot be used: {reason}; mend or remove it, or set on_error: skip."
                ) from None
            reasons |= found
    files = tuple(stage.finished(name) for name in _names(stage, plan, stem, record)) if good else ()
    shard = Shard(
        stem,
        len(good),
        tuple(file for file in files if file),
        _listed(source, reasons),
        dict(sorted(counts.items())),
        _listed(source, damaged)[:LISTED],
        tuple(parts),
    )
    with stage.create(record) as sink:
        sink.write((json.dumps(shard.to_json(), indent=1, ensure_ascii=False) + "\n").encode())
    return shard


def finish_store(source: Source, stage: Stage, plan: StorePlan, shards: Sequence[Shard]) -> Written:
    """Write `store.json` over all shards, in order, and what other programs are told of them.

    Raises:
        BadInput: they hold no sample at all.
    """
    left_out = skipped(shards)
    if not any(shard.rows for shard in shards):
        first = f": {left_out[0]['name']} {left_out[0]['reason']}" if left_out else ""
        raise BadInput(f"None of the {len(source)} samples can be used{first}.")
    info = _info(source, plan, shards)
    for name, data in (plan.codec.beside(info, plan.split) if plan.codec.beside else {}).items():
        with stage.create(name) as sink:
            sink.write(data)
    with stage.create(plan.codec.own(NAME)) as sink:
        sink.write(info.dump())
    facts = {"rows": info.rows, "classes": len(info.class_to_idx), "shards": sum(shard.rows > 0 for shard in shards)}
    seen = notes(shards)
    return Written(
        facts
        | dict(source.walked)
        | ({"skipped": len(left_out)} if left_out else {})
        | ({"notes": seen} if seen else {}),
        left_out,
    )


def _info(source: Source, plan: StorePlan, shards: Sequence[Shard]) -> StoreInfo:
    about = {**source.about, "samples": len(source), "images_per_file": len(plan.shards(source)[0])}
    return StoreInfo(plan.codec.format, source.fields, tuple(shards), source.class_to_idx, about)


def _write(
    source: Source, stage: Stage, plan: StorePlan, stem: str, indices: Sequence[int]
) -> tuple[Mapping[str, int], Mapping[int, str], Sequence[str]]:
    """Write a shard's files; its notes, its damaged samples with the reason, and what parts of samples are called."""
    counts: Counter[str] = Counter()
    damaged: dict[int, str] = {}

    def columns() -> Iterator[Columns]:
        blocks = _blocks(source, indices)
        for samples in ordered(source.read, blocks, plan.threads, plan.threads + 1, source.start_thread):
            counts.update(samples.notes)
            damaged.update(samples.damaged)
            yield samples.columns

    options = {**plan.options, "numbers": indices, "classes": _info(source, plan, ()).classes}
    parts = plan.codec.write(stage, stem, source.fields, len(indices), columns(), options)
    return counts + Counter(damaged=len(damaged)), damaged, parts or ()


def _listed(source: Source, reasons: Mapping[int, str]) -> tuple[Mapping[str, Any], ...]:
    return tuple({"index": i, "name": source.name(i), "reason": reasons[i]} for i in sorted(reasons))


def _blocks(source: Source, indices: Sequence[int]) -> list[Sequence[int]]:
    rows = _block_rows(source, len(indices))
    blocks = [indices[at : at + rows] for at in range(0, len(indices), rows)]
    return [range(b[0], b[-1] + 1) if b[-1] - b[0] == len(b) - 1 else b for b in blocks]


def _block_rows(source: Source, rows: int) -> int:
    return max(1, min(BLOCK_ROWS, BLOCK_BYTES // source.mean_bytes, max(FEWEST_ROWS, -(-rows // BLOCKS))))


def _all_bad(source: Source, indices: Sequence[int], threads: int) -> dict[int, str]:
    def reasons(block: Sequence[int]) -> dict[int, str]:
        try:
            source.read(block)
        except BadSamples as bad:
            return bad.reasons
        return {}

    found: dict[int, str] = {}
    for some in ordered(reasons, _blocks(source, indices), threads, threads + 1, source.start_thread):
        found |= some
    return found


def _names(stage: Stage, plan: StorePlan, stem: str, record: str) -> list[str]:
    return [name for name in stage.names() if plan.codec.mine(stem, name) and name != record]
