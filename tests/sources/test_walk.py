"""What lies in a folder is a sample or counted, whatever people and their systems leave there."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import features

from imgassets import convert, open_store
from imgassets.commit import load
from imgassets.errors import BadInput
from imgassets.sources.base import BadSamples
from imgassets.sources.files import ImageFiles
from imgassets.sources.folder import class_folder, label_folder, numbered
from imgassets.sources.resized import Resized
from imgassets.sources.walk import files_below
from imgassets.stores.writing import Layout, StorePlan
from imgassets.testing.making import dense, encoded, picture, write

STRAYS = (
    "__MACOSX/a/._1.jpg",
    "@eaDir/1.jpg",
    "lost+found/x",
    "a/.ipynb_checkpoints/1.jpg",
    "a/Thumbs.db",
    ".DS_Store",
)
HEIC = b"\0\0\0\x18ftypheic" + bytes(99)


def image(kind: str = "JPEG") -> bytes:
    return encoded(picture(0, 9, 9), kind)


def names(source: ImageFiles) -> list[str]:
    return [source.name(k) for k in range(len(source))]


def counted(source: ImageFiles) -> dict[str, int]:
    """Files passed over, by reason; with the samples they are all."""
    found = {reason: of["count"] for reason, of in source.walked.get("passed_over", {}).items()}
    assert source.walked["walked"] == len(source) + sum(found.values())
    return found


def test_strays_are_no_classes_and_counted(tmp_path: Path) -> None:
    for name in ("a/1.jpg", "b/1.jpg", "a/.hidden.jpg", ".git/objects/12", *STRAYS):
        write(tmp_path / name, image())
    source = class_folder(tmp_path)
    assert source.class_to_idx == {"a": 0, "b": 1}
    assert counted(source) == {"stray": 6, "hidden": 2}
    assert source.walked["passed_over"]["hidden"]["examples"] == [".git/objects/12", "a/.hidden.jpg"]


def test_content_decides_what_an_image_is(tmp_path: Path) -> None:
    files = {"1.jpg": image(), "2": image("PNG"), "3.jfif": image(), "4.JPG~": image(), "5.jpg.1": image("GIF")}
    files |= {"6.avif": image("AVIF")} if features.check("avif") else {}
    files |= {"7.jp2": image("JPEG2000")} if features.check_codec("jpg_2000") else {}
    for name, data in files.items():
        write(tmp_path / "a" / name, data)
    others = {"notes.txt": b"BMI of P1 50", "scan.dcm": bytes(128) + b"DICM", "x.npy": b"\x93NUMPY", "empty": b""}
    for name, data in others.items():
        write(tmp_path / "a" / name, data)
    os.mkfifo(tmp_path / "a" / "fifo")
    write(tmp_path / "loose", image())
    source = class_folder(tmp_path)
    assert names(source) == [f"a/{name}" for name in files]
    assert counted(source) == {"no_image": 5, "without_class": 1}
    assert "mislabelled" not in source.read(range(len(source))).notes


@pytest.mark.parametrize(("name", "data"), [("x.heic", HEIC), ("x", HEIC), ("x.jxl", b"\xff\x0a" + bytes(50))])
def test_what_no_decoder_reads_is_an_exception_that_names_the_plug_in(tmp_path: Path, name: str, data: bytes) -> None:
    write(tmp_path / "a" / name, data)
    with pytest.raises(BadSamples) as caught:
        class_folder(tmp_path).read([0])
    assert "plug-in pillow-" in caught.value.reasons[0]


def test_a_folder_that_cannot_be_listed_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("a/1.jpg", "a/closed/2.jpg", "lost+found/3.jpg"):
        write(tmp_path / name, image())
    scandir = os.scandir

    def closed(path: Any) -> Any:
        if os.fspath(path).endswith(("closed", "lost+found")):
            raise PermissionError(13, "Permission denied")
        return scandir(path)

    monkeypatch.setattr(os, "scandir", closed)
    with pytest.raises(BadInput, match=r"a/closed cannot be listed: Permission denied"):
        class_folder(tmp_path)
    (tmp_path / "a" / "closed").rename(tmp_path / "a" / "open")
    assert counted(class_folder(tmp_path)) == {"stray": 1}


def test_labels_without_an_image_are_counted(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 4)
    (images / "02.png").unlink()
    write(labels / "about.md", b"text")
    source = label_folder(images, labels)
    assert source.walked == {
        "walked": 8,
        "label_files": 3,
        "passed_over": {
            "label_without_image": {"count": 1, "examples": ["02.png"]},
            "no_image": {"count": 1, "examples": ["about.md"]},
        },
    }


@pytest.mark.parametrize(
    "splits",
    [("train", "val"), ("Test", "Train", "extra"), ("train",), ("test_set", "validation"), ("train2017", "val2017")],
)
def test_a_root_of_splits_is_refused_with_the_yaml(tmp_path: Path, splits: tuple[str, ...]) -> None:
    for split in splits:
        write(tmp_path / split / "cat" / "1.jpg", image())
    with pytest.raises(BadInput, match=rf"declare `splits: \{{{splits[0]}: pets/{splits[0]}"):
        class_folder(tmp_path, called="pets")
    assert len(class_folder(tmp_path, class_to_idx={name: k for k, name in enumerate(splits)})) == len(splits)


def test_splits_one_folder_down_are_refused_with_their_place(tmp_path: Path) -> None:
    for split in ("train", "val"):
        write(tmp_path / "pets" / split / "cat" / "1.jpg", image())
    with pytest.raises(BadInput, match=r"`splits: \{train: data/pets/train, val: data/pets/val\}`"):
        class_folder(tmp_path, called="data")


def test_names_not_in_utf_8_are_counted_too(tmp_path: Path) -> None:
    for name in (b"a/1.jpg", b"l\xf6se.jpg", b"a/n\xf6te.txt", b"a/.h\xf6dden"):
        write(tmp_path / os.fsdecode(name), b"text" if name.endswith(b"txt") else image())
    made = convert(tmp_path, tmp_path.with_name("out"))
    assert made is not None
    facts = load(made / ".imgassets.json").facts
    assert facts["passed_over"]["hidden"]["examples"] == ["a/.h\\xf6dden"]
    assert open_store(made).class_to_idx == {"a": 0}


def test_train_may_be_a_class_among_others(tmp_path: Path) -> None:
    for name in ("bus", "car", "train"):
        write(tmp_path / name / "1.jpg", image())
    assert len(class_folder(tmp_path)) == 3


@pytest.mark.parametrize("path", ["n01440764/n01443537_1.JPEG", "n01440764/n01443537/1.JPEG"])
def test_a_file_named_after_another_synset_is_refused(tmp_path: Path, path: str) -> None:
    write(tmp_path / path, image())
    write(tmp_path / "n01440764" / "n01440764_10_n01440764.JPEG", image())
    with pytest.raises(BadInput, match="is named after n01443537 and lies in n01440764"):
        class_folder(tmp_path)


@pytest.mark.parametrize(
    ("format_", "layout", "size"),
    [("parquet", "huggingface", (8, 8)), ("memmap", "guide", (8, 8)), ("tar", "guide", None)],
)
def test_other_layouts_tell_what_was_passed_over(
    tmp_path: Path, format_: str, layout: Layout, size: tuple[int, int] | None
) -> None:
    for name in ("a/1.jpg", "b/1.jpg", "b/notes.txt"):
        write(tmp_path / name, b"text" if name.endswith("txt") else image())
    source = class_folder(tmp_path)
    prepared = StorePlan(format_, layout=layout).prepared(Resized(source, size) if size else source)
    assert prepared.walked == source.walked == {"walked": 3, "passed_over": source.walked["passed_over"]}


def test_the_manifest_and_convert_tell_what_was_passed_over(tmp_path: Path) -> None:
    for name in ("Zebra/1.jpg", "class2/1.jpg", "class10/1.jpg", "class10/notes.txt"):
        write(tmp_path / "in" / name, b"text" if name.endswith("txt") else image())
    (tmp_path / "in" / "apple").mkdir()
    made = convert(tmp_path / "in", tmp_path / "out", on_error="skip", class_order="text")
    assert made is not None
    assert open_store(made).class_to_idx == {"Zebra": 0, "class10": 1, "class2": 2}
    facts = load(made / ".imgassets.json").facts
    assert (facts["walked"], facts["empty_classes"]) == (4, ["apple"])
    assert facts["passed_over"] == {"no_image": {"count": 1, "examples": ["class10/notes.txt"]}}


@given(st.sets(st.text(min_size=1, max_size=5), min_size=1), st.sampled_from(["natural", "text"]))
def test_every_class_has_a_number_of_its_own(classes: set[str], order: Any) -> None:
    found = numbered(classes, order)
    assert sorted(found.values()) == list(range(len(classes)))
    if order == "text":
        assert list(found) == sorted(classes)


@given(st.sets(st.from_regex(r"[a-c]{1,2}(/[d-f]{1,2}){0,2}/[x-z0-9]{1,3}\.[jt]", fullmatch=True), max_size=20))
def test_every_file_below_a_folder_in_order(tmp_path_factory: pytest.TempPathFactory, paths: set[str]) -> None:
    root = tmp_path_factory.mktemp("below")
    for path in {*paths, *STRAYS}:
        write(root / path, b"")
    os.symlink("..", root / "a" / "up")
    os.symlink(root / "lost+found", root / "linked")
    found = list(files_below(root))
    assert [name for name, _ in found] == sorted({*paths, "linked/x"})
    assert all(path == root / name for name, path in found)


def test_a_folder_that_cannot_be_listed_hides_no_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(BadInput, match="none cannot be listed: No such file"):
        files_below(tmp_path / "none")
