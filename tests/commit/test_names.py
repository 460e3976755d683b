"""Names that may become paths leave no folder, and hide nothing but what has its place in hiding."""

from __future__ import annotations

import pytest

from imgassets.commit.names import check_name
from imgassets.errors import BadInput


@pytest.mark.parametrize(
    "name", ["a.npy", "data/train-00000-of-00001.parquet", ".store/store.json", ".huggingface.yaml"]
)
def test_names_of_files(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize(
    "name",
    [
        *(
            "",
            "..",
            "a/../b",
            "/a",
            ".hidden",
            "a/.hidden",
            ".store",
            ".store/",
            ".store/../a",
            ".store/.a",
            "a/.store/b",
        ),
        *(".huggingface.yaml/a", "a/.huggingface.yaml", ".store/.store/a", ".imgassets/a", "a\nb", "a" * 201),
    ],
)
def test_names_that_are_refused(name: str) -> None:
    with pytest.raises(BadInput):
        check_name(name)
