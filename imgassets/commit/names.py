"""Names that may become paths: partition keys and the files of an artifact. Nothing here can leave its folder."""

from __future__ import annotations

import unicodedata

from imgassets.errors import BadInput

MAX_BYTES = 200
"""Longest part of a name, in UTF-8 bytes: common file systems allow 255, and staging adds a prefix and a suffix."""

ASIDE = ".store"
"""Folder of an artifact in which lies what programs that read the whole artifact must not take for data."""
CARD = ".huggingface.yaml"
"""What Hugging Face `datasets` is told of a folder, by its own name for that."""

MOST_PARTITIONS = 5000
"""Of one asset: of more Dagster's UI and its records make no haste, and pages of tens of thousands freeze."""


def check_count(asset: str, partitions: int) -> None:
    """Refuse more partitions of an asset than Dagster can handle.

    Raises:
        BadInput: there are more than `MOST_PARTITIONS`.
    """
    if partitions > MOST_PARTITIONS:
        raise BadInput(
            f"{asset} would have {partitions:,} partitions, and Dagster handles up to {MOST_PARTITIONS:,} of an asset: "
            "declare fewer and larger ones (fewer shards, more samples in each), or several datasets."
        )


def check_part(part: str) -> str:
    """Return `part` if it is one safe path component.

    Raises:
        BadInput: it is empty, hidden, longer than `MAX_BYTES`, or holds a separator or a control character.
    """
    if not part or part in {".", ".."}:
        problem = "is no name"
    elif part.startswith("."):
        problem = "starts with a dot, which is kept for staging and manifests"
    elif "/" in part or "\\" in part:
        problem = "holds a path separator"
    elif any(unicodedata.category(c) in {"Cc", "Cs"} for c in part):
        problem = "holds a control character"
    elif len(part.encode()) > MAX_BYTES:
        problem = f"has {len(part.encode())} bytes, more than the {MAX_BYTES} allowed"
    else:
        return part
    raise BadInput(f"{part[:60]!r} cannot name a partition or a file: it {problem}; choose another name.")


def check_name(name: str) -> str:
    """Return `name`, a relative path of safe parts joined by `/` such as `images/shard-000000.npy`.

    Nothing in it is hidden but what lies in the folder `ASIDE`, and `CARD`.
    """
    for part in () if name == CARD else name.removeprefix(f"{ASIDE}/").split("/"):
        check_part(part)
    return name
