"""An untouched archive through `open_store`: rows, labels, checksums, archives that are others."""

from __future__ import annotations

import pickle  # noqa: TID251  (what torch does to a dataset when it spawns workers)
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from imgassets import open_store
from imgassets.augment import RandomResizedCrop
from imgassets.classes import imagenet_classes
from imgassets.commit import Location, Recipe, Stage, Vault, Written
from imgassets.errors import BadInput, MissingUpstream, StoreError
from imgassets.formats.index import Index, write_index
from imgassets.images.pixels import decode
from imgassets.sources.ilsvrc import ARCHIVES
from imgassets.sources.ilsvrc_index import Ilsvrc
from imgassets.stores import OpenStore
from tests.pictures import jpeg
from tests.tars import tar

SYNSETS = imagenet_classes().synsets[3:6]
EACH = 5
FILE = ARCHIVES["train"].file
BAD = 7
"""The row that is no image."""


def name(row: int) -> str:
    return f"{sorted(SYNSETS)[row // EACH]}_{row % EACH}.JPEG"


def data(row: int) -> bytes:
    return b"no image" * 40 if row == BAD else jpeg(row, 40 + row, 60, "L" if row == 2 else "RGB")


ROWS = [row for row in range(EACH * len(SYNSETS)) if row != BAD]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Index, and the folder of raw inputs."""
    root = tmp_path_factory.mktemp("archive")
    raw = root / "raw"
    (raw / "ilsvrc2012").mkdir(parents=True)
    inner = (
        (f"{synset}.tar", tar((name(k * EACH + i), data(k * EACH + i)) for i in range(EACH)))
        for k, synset in reversed(list(enumerate(sorted(SYNSETS))))
    )
    (raw / "ilsvrc2012" / FILE).write_bytes(tar(inner))
    found = Ilsvrc(raw / "ilsvrc2012", ("train",)).index("train")

    def write(stage: Stage) -> Written:
        return write_index(Index(found.table, found.report), stage)

    vault = Vault(root / "store", root / "state")
    location: Location = vault.location("ilsvrc2012", "tar_index", "train", folder=True)
    recipe = Recipe("ilsvrc2012/tar_index", "train", {f"ilsvrc2012/{FILE}": found.checksum}, {}, "index/1", "1")
    return vault.commit(location, recipe, write).location.path, raw


@pytest.fixture
def copied(made: tuple[Path, Path], tmp_path: Path) -> Path:
    """The archive, to be changed."""
    return Path(shutil.copy(made[1] / "ilsvrc2012" / FILE, tmp_path / FILE))


def proves(store: OpenStore) -> None:
    assert len(store) == len(ROWS)
    for place, row in enumerate(ROWS):
        pixels, label = store[place]
        assert np.array_equal(pixels.permute(1, 2, 0).numpy(), decode(data(row), "RGB"))
        assert label == store.labels[place] == imagenet_classes().class_to_idx[sorted(SYNSETS)[row // EACH]]
        assert store.name(place) == name(row)
        assert store.column("name", [place]) == [name(row).encode()]
    store.verify()


@pytest.mark.parametrize("where", ["", "ilsvrc2012", f"ilsvrc2012/{FILE}"])
def test_every_sound_image_is_a_row(made: tuple[Path, Path], where: str) -> None:
    proves(open_store(made[0], raw=made[1] / where))


def test_the_environment_says_where_raw_inputs_lie(made: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("IMGASSETS_RAW", raising=False)
    with pytest.raises(BadInput, match="raw="):
        open_store(made[0])
    monkeypatch.setenv("IMGASSETS_RAW", str(made[1]))
    assert len(open_store(made[0])) == len(ROWS)


def test_what_is_no_image_is_told(made: tuple[Path, Path]) -> None:
    store = open_store(made[0], raw=made[1])
    assert [(s["index"], s["name"]) for s in store.skipped] == [(BAD, name(BAD))]  # type: ignore[attr-defined]


def test_an_index_without_a_manifest(made: tuple[Path, Path], tmp_path: Path) -> None:
    shutil.copytree(made[0], tmp_path / "index", ignore=shutil.ignore_patterns(".imgassets*"))
    proves(open_store(tmp_path / "index", raw=made[1] / "ilsvrc2012"))


def test_nothing_is_written(made: tuple[Path, Path]) -> None:
    before = [(path, path.lstat().st_mtime_ns) for path in sorted(made[0].parents[3].rglob("*"))]
    store = open_store(made[0], raw=made[1])
    for _ in store.loader(4, shuffle=True):
        pass
    assert [(path, path.lstat().st_mtime_ns) for path in sorted(made[0].parents[3].rglob("*"))] == before


def test_spawned_workers_open_it_again(made: tuple[Path, Path]) -> None:
    proves(pickle.loads(pickle.dumps(open_store(made[0], raw=made[1]))))  # noqa: S301


@pytest.mark.parametrize("shuffle", [True, "block"])
def test_crops_of_the_archive(made: tuple[Path, Path], shuffle: object) -> None:
    store = open_store(made[0], raw=made[1])
    found = [labels for _, labels in store.loader(4, shuffle=shuffle, augment=RandomResizedCrop(32))]
    assert sorted(label for labels in found for label in labels.tolist()) == sorted(store.labels.tolist())


@settings(max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.integers(-len(ROWS), len(ROWS) - 1), max_size=20))
def test_any_rows_in_any_order(made: tuple[Path, Path], rows: list[int]) -> None:
    store = open_store(made[0], raw=made[1])
    assert store.column("image", rows) == [data(ROWS[row]) for row in rows]
    assert [store.place(row).read() for row in rows] == store.column("image", rows)  # type: ignore[misc]


def test_another_archive_is_refused(made: tuple[Path, Path], copied: Path, tmp_path: Path) -> None:
    with pytest.raises(MissingUpstream, match=FILE):
        open_store(made[0], raw=tmp_path / "nowhere")
    whole = copied.read_bytes()
    copied.write_bytes(whole + bytes(512))
    with pytest.raises(BadInput, match=rf"has {len(whole) + 512} bytes, .* of one of {len(whole)}"):
        open_store(made[0], raw=copied)
    copied.write_bytes(whole.replace(data(4), data(4)[:-9] + bytes(9)))
    with pytest.raises(BadInput, match=name(4)):
        open_store(made[0], raw=copied)


def test_an_archive_that_changes_is_told_of(made: tuple[Path, Path], copied: Path) -> None:
    store = open_store(made[0], raw=copied)
    at = copied.read_bytes().index(data(4))
    with copied.open("r+b") as file:
        file.seek(at + 100)
        file.write(bytes(8))
    store[5]
    for read in (lambda: store[4], lambda: list(store.loader(2)), store.verify, lambda: store.raw(4)):  # type: ignore[attr-defined]
        with pytest.raises(StoreError, match=name(4)):
            read()
    with copied.open("r+b") as file:
        file.truncate(1000)
    with pytest.raises(StoreError, match="cut"):
        store[5]


def test_raw_is_for_indexes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="raw= is for the index"):
        open_store(tmp_path, raw=tmp_path)
