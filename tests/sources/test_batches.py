from __future__ import annotations

import re
import zipfile
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from imgassets.errors import LIMIT, BadInput
from imgassets.sources.batches import batch_offsets, find_batches, natural_key
from tests.components.imagenet import rows, save_npz
from tests.sources.zips import batch_parts, write

TRAIN = [f"train_data_batch_{i}" for i in range(1, 11)]


def folder_of(path: Path, rows: dict[str, int]) -> Path:
    for name, count in rows.items():
        write(path / f"{name}.npz", batch_parts(count))
    return path


def test_batches_sort_by_number() -> None:
    assert sorted(sorted(TRAIN), key=natural_key) == TRAIN
    assert sorted(["b10a2", "b9", "b10a1", "b", "B2", "b09"], key=natural_key) == [
        "B2",
        "b",
        "b09",
        "b9",
        "b10a1",
        "b10a2",
    ]


@given(st.lists(st.text(st.sampled_from("ab_0129²٣"), max_size=8)))
def test_natural_order_is_total(names: list[str]) -> None:
    ordered = sorted(names, key=natural_key)
    assert sorted(sorted(names), key=natural_key) == ordered
    assert len({natural_key(name) for name in names}) == len(set(names))


def test_finds_the_declared_in_natural_order_and_nothing_else(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train_data_batch_10": 1, "train_data_batch_2": 1, "val_data": 1, "another": 1})
    found = find_batches(tmp_path, ["val_data", "train_data_batch_10", "train_data_batch_2"])
    assert list(found.items()) == [
        (name, tmp_path / f"{name}.npz") for name in ("train_data_batch_2", "train_data_batch_10", "val_data")
    ]


@pytest.mark.parametrize("kind", ["empty", "missing", "a file", "other files"])
def test_no_npz_files(kind: str, tmp_path: Path) -> None:
    folder = tmp_path / "imagenet64"
    if kind == "a file":
        folder.touch()
    elif kind != "missing":
        folder.mkdir()
    if kind == "other files":
        (folder / "train_data_batch_1.pkl").touch()
    with pytest.raises(BadInput, match=r"^No NPZ files found in ") as caught:
        find_batches(folder, [*TRAIN, "val_data"])
    for part in (str(folder), "train_data_batch_1.npz", "val_data.npz (11 files)", "IMGASSETS_RAW"):
        assert part in str(caught.value)
    assert len(str(caught.value)) <= LIMIT


@pytest.mark.parametrize("others", [[], ["train_data_batch_1.npz"]])
@pytest.mark.parametrize(
    ("name", "content", "told"),
    [
        ("val_data", b"\x80\x04x", "val_data is the pickled download, which is never opened"),
        ("val_data.pkl", b"\x80\x02x", "val_data.pkl is the pickled download"),
        ("Imagenet64_val_npz/val_data.npz", b"", "Imagenet64_val_npz/ has val_data.npz: move them up"),
        ("Imagenet64_val_npz.zip", b"PK", "Imagenet64_val_npz.zip is an archive: unpack it here"),
        ("notes.txt", b"x", "put"),
    ],
)
def test_what_lies_there_instead_is_named(
    tmp_path: Path, name: str, content: bytes, told: str, others: list[str]
) -> None:
    for path in [name, *others]:
        (tmp_path / path).parent.mkdir(exist_ok=True)
        (tmp_path / path).write_bytes(content)
    with pytest.raises(BadInput, match=re.escape(told)):
        find_batches(tmp_path, ["val_data", "train_data_batch_1"])


def test_a_missing_batch_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"train_data_batch_1": 1})
    with pytest.raises(BadInput, match=r"lacks train_data_batch_2\.npz, val_data\.npz"):
        find_batches(tmp_path, ["val_data", "train_data_batch_1", "train_data_batch_2"])
    assert find_batches(tmp_path, ["train_data_batch_1"])


@pytest.mark.parametrize("name", ["../escape", "a/b", "", ".hidden", "a b", "a\n", "é", "/abs"])
def test_names_cannot_leave_the_folder(name: str, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="cannot be the name"):
        find_batches(tmp_path, [name])


def test_declaring_no_batch_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="No batches are declared"):
        find_batches(tmp_path, [])


def test_offsets_count_in_natural_order(tmp_path: Path) -> None:
    folder_of(tmp_path, {"b_10": 5, "b_2": 3, "b_1": 2})
    assert batch_offsets(tmp_path, ["b_10", "b_2", "b_1"], resolution=16) == {"b_1": 0, "b_2": 2, "b_10": 5}


def test_only_batches_before_the_last_are_read(tmp_path: Path) -> None:
    folder_of(tmp_path, {"b_1": 2, "b_2": 3})
    (tmp_path / "b_3.npz").write_bytes(b"broken")
    names = ["b_1", "b_2", "b_3", "b_4"]
    assert batch_offsets(tmp_path, names, resolution=16, last="b_3") == {"b_1": 0, "b_2": 2, "b_3": 5}
    assert batch_offsets(tmp_path, names, resolution=16, last="b_1") == {"b_1": 0}
    with pytest.raises(BadInput, match=r"^b_3\.npz cannot be read.*b_4.*not an NPZ"):
        batch_offsets(tmp_path, names, resolution=16, last="b_4")
    with pytest.raises(BadInput, match=r"^b_3\.npz cannot be read"):
        batch_offsets(tmp_path, names, resolution=16)
    with pytest.raises(BadInput, match="b_9 is none of the batches"):
        batch_offsets(tmp_path, names, resolution=16, last="b_9")


def test_a_missing_earlier_batch_is_named(tmp_path: Path) -> None:
    folder_of(tmp_path, {"b_1": 2, "b_3": 3})
    with pytest.raises(BadInput, match=r"^b_2\.npz cannot be read.*lacks b_2\.npz"):
        batch_offsets(tmp_path, ["b_1", "b_2", "b_3"], resolution=16, last="b_3")


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@given(share=st.floats(0, 1), flip=st.none() | st.integers(0, 200))
def test_what_is_left_of_a_cut_batch_tells_its_rows_or_nothing(
    tmp_path_factory: pytest.TempPathFactory, compression: int, share: float, flip: int | None
) -> None:
    path = tmp_path_factory.mktemp("cut") / "b_1.npz"
    save_npz(path, compression, **rows(1, 40))
    content = bytearray(path.read_bytes())
    head = content[: int(share * len(content))]
    if flip is not None and len(head):
        head[flip % len(head)] ^= 1 << flip % 8
    path.write_bytes(head)
    told = None
    with suppress(BadInput):
        told = batch_offsets(path.parent, ["b_1", "b_2"], resolution=16)["b_2"]
    if flip is None:
        assert told == 40 or (told is None and len(head) < 20_000)


@given(st.binary(max_size=300), st.sampled_from([b"", b"PK\3\4"]))
def test_anything_else_tells_nothing(tmp_path_factory: pytest.TempPathFactory, content: bytes, magic: bytes) -> None:
    path = tmp_path_factory.mktemp("any") / "b_1.npz"
    path.write_bytes(magic + content)
    with pytest.raises(BadInput, match=r"^b_1\.npz cannot be read"):
        batch_offsets(path.parent, ["b_1", "b_2"], resolution=16)


def test_a_cut_batch_whose_headers_contradict_each_other_tells_nothing(tmp_path: Path) -> None:
    members = rows(1, 40)
    save_npz(tmp_path / "b_1.npz", labels=members["labels"][:-1], data=members["data"])
    path = tmp_path / "b_1.npz"
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(BadInput, match="cut short or damaged"):
        batch_offsets(tmp_path, ["b_1", "b_2"], resolution=16)
