"""Folders as people have them: order, names, links, and files that are not what they seem."""

from __future__ import annotations

import os
import re
import shutil
import tarfile
import unicodedata
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from imgassets.errors import BadInput
from imgassets.images.pixels import decode
from imgassets.sources.base import BadSamples
from imgassets.sources.files import ImageFiles, Item
from imgassets.sources.folder import class_folder, label_folder
from imgassets.sources.resized import Resized
from imgassets.testing.making import dense, encoded, folder, picture, write


def reasons(source: ImageFiles | Resized) -> dict[str, str]:
    with pytest.raises(BadSamples) as caught:
        source.read(range(len(source)))
    return {source.name(index): reason for index, reason in caught.value.reasons.items()}


def test_natural_order_nested_and_unicode(tmp_path: Path) -> None:
    source = class_folder(folder(tmp_path))
    assert source.class_to_idx == {"class1": 0, "class2": 1, "class10": 2, "größe 猫": 3}
    names = [source.name(k) for k in range(len(source))]
    assert names[:7] == [
        "class1/a.PNG",
        "class1/deep/er/img3.jpg",
        "class1/img0.jpg",
        "class1/img1.jpg",
        "class1/img2.jpg",
        "class1/img4.jpg",
        "class2/deep/er/img3.jpg",
    ]
    assert names[-1] == "größe 猫/img4.jpg"
    columns = source.read(range(len(source))).columns
    assert [source.class_to_idx[name.split("/")[0]] for name in names] == list(columns["label"])
    assert columns["image"][0] == (tmp_path / names[0]).read_bytes()


def test_labels_of_a_table(tmp_path: Path) -> None:
    source = class_folder(folder(tmp_path), class_to_idx={"class1": 7, "class2": 5, "class10": 6, "größe 猫": 999})
    assert set(source.read(range(len(source))).columns["label"]) == {5, 6, 7, 999}
    with pytest.raises(BadInput, match="class2"):
        class_folder(tmp_path, class_to_idx={"class1": 0})


def test_hostile_files(tmp_path: Path) -> None:
    good = encoded(picture(0, 30, 40), quality=90)
    root = tmp_path / "hostile"
    write(root / "a" / "good.jpg", good)
    write(root / "a" / "mislabelled.png", good)
    write(root / "a" / "empty.jpg", b"")
    write(root / "a" / "text.jpg", b"no image at all")
    write(root / "a" / "cut.jpg", good[: len(good) * 2 // 3])
    write(root / "a" / "cut_header.jpg", good[:100])
    png = encoded(picture(1, 30, 40), "PNG")
    write(root / "a" / "cut.png", png[: len(png) // 2])
    bomb = bytearray(encoded(Image.new("L", (1, 1)), "PNG"))
    bomb[16:24] = (60000).to_bytes(4, "big") * 2
    write(root / "a" / "bomb.png", bytes(bomb))
    jpeg_bomb = bytearray(good)
    at = jpeg_bomb.index(b"\xff\xc0") + 5
    jpeg_bomb[at : at + 4] = b"\xff\xff\xff\xff"
    write(root / "a" / "bomb.jpg", bytes(jpeg_bomb))
    os.mkfifo(root / "a" / "fifo.jpg")
    (root / "a" / "dangling.jpg").symlink_to("nowhere")
    found = reasons(class_folder(root))
    broken = ["bomb.jpg", "bomb.png", "cut.jpg", "cut.png", "cut_header.jpg", "dangling.jpg", "empty.jpg", "fifo.jpg"]
    assert set(found) == {f"a/{name}" for name in [*broken, "text.jpg"]}
    assert found["a/empty.jpg"] == "is empty"
    assert "pixels" in found["a/bomb.jpg"]
    assert "ordinary" in found["a/fifo.jpg"]
    source = class_folder(root)
    notes = source.read([k for k in range(len(source)) if source.name(k) not in found]).notes
    assert notes == {"mislabelled": 1}


def test_what_is_unusual_is_counted(tmp_path: Path) -> None:
    write(tmp_path / "a" / "cmyk.jpg", encoded(picture(0, 9, 9, "CMYK")))
    write(tmp_path / "a" / "gray.jpg", encoded(picture(0, 9, 9, "L")))
    write(tmp_path / "a" / "deep.png", encoded(Image.fromarray(np.full((9, 9), 40000, np.uint16)), "PNG"))
    exif = Image.Exif()
    exif[0x0112] = 6
    write(tmp_path / "a" / "turned.jpg", encoded(picture(0, 9, 9), exif=exif.tobytes()))
    frames = [picture(k, 9, 9) for k in range(3)]
    write(tmp_path / "a" / "moving.gif", encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]))
    write(tmp_path / "a" / "glass.png", encoded(picture(0, 9, 9, "RGBA"), "PNG"))
    source = class_folder(tmp_path)
    assert source.read(range(len(source))).notes == {
        "cmyk": 1,
        "grayscale": 1,
        "16_bit": 1,
        "exif_rotated": 1,
        "animated": 1,
        "transparent": 1,
    }


def test_links_to_elsewhere_are_followed(tmp_path: Path) -> None:
    write(tmp_path / "elsewhere" / "x.jpg", encoded(picture(0, 9, 9)))
    write(tmp_path / "root" / "b" / "y.jpg", encoded(picture(1, 9, 9)))
    (tmp_path / "root" / "a").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "root" / "b" / "z.jpg").symlink_to(tmp_path / "root" / "b" / "y.jpg")
    source = class_folder(tmp_path / "root")
    assert [source.name(k) for k in range(len(source))] == ["a/x.jpg", "b/y.jpg", "b/z.jpg"]


@pytest.mark.parametrize(
    ("link", "target"),
    [
        ("a/loop", "."),
        ("a/loop", ".."),
        ("a/loop", "../../.."),
        ("a/deep/loop", "../../a"),
        ("a/b", "../b"),
        ("c", "b"),
        ("a/y.jpg", "../b/y.jpg"),
        ("a/y", "../b/y.jpg"),
    ],
)
def test_links_in_a_circle_or_into_another_class_are_refused(tmp_path: Path, link: str, target: str) -> None:
    root = tmp_path / "root"
    write(root / "a" / "deep" / "x.jpg", encoded(picture(0, 9, 9)))
    write(root / "b" / "y.jpg", encoded(picture(1, 9, 9)))
    (root / link).symlink_to(target)
    with pytest.raises(BadInput, match=r"link .*(circle|class)"):
        class_folder(root)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["Cat/x.jpg", "cat/y.jpg"], "differ only by case"),
        ([unicodedata.normalize(form, "é") + "/x.jpg" for form in ("NFC", "NFD")], "differ only by case"),
        (["a/notes.txt"], "no images"),
        (["a/x.jpg", "b/notes.txt"], "b holds no image"),
        (["x.jpg"], "no class folders"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, names: list[str], message: str) -> None:
    for name in names:
        write(tmp_path / name, b"text" if name.endswith("txt") else encoded(picture(0, 4, 4)))
    with pytest.raises(BadInput, match=message):
        class_folder(tmp_path)


@pytest.mark.parametrize("name", [b"gr\xf6sse/x.jpg", b"a/gr\xf6sse.jpg"])
def test_names_in_another_encoding_are_refused(tmp_path: Path, name: bytes) -> None:
    write(tmp_path / os.fsdecode(name), encoded(picture(0, 4, 4)))
    with pytest.raises(BadInput, match=r"xf6sse.*not in UTF-8"):
        class_folder(tmp_path)


def test_an_empty_class_can_be_accepted_and_is_listed(tmp_path: Path) -> None:
    write(tmp_path / "b" / "x.jpg", encoded(picture(0, 4, 4)))
    (tmp_path / "a").mkdir()
    source = class_folder(tmp_path, on_error="skip")
    assert source.class_to_idx == {"b": 0}
    assert source.about["empty_classes"] == source.walked["empty_classes"] == ["a"]
    assert class_folder(tmp_path, class_to_idx={"a": 0, "b": 1}, on_error="skip").read([0]).columns["label"] == [1]


def test_images_of_no_class_are_listed(tmp_path: Path) -> None:
    for name in ("a/x.jpg", "stray.JPG", ".hidden.jpg"):
        write(tmp_path / name, encoded(picture(0, 4, 4)))
    write(tmp_path / "README.txt", b"about")
    source = class_folder(tmp_path)
    assert len(source) == 1
    assert source.about["without_class"] == ["stray.JPG"]


def test_no_folder(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is no folder"):
        class_folder(tmp_path / "nothing")


def test_label_images(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 4)
    (labels / "02.png").unlink()
    source = label_folder(images, labels)
    assert reasons(source) == {"02.png": "there is no label file for it in labels"}
    resized = Resized(source, (6, 8))
    columns = resized.read([0, 1, 3]).columns
    assert columns["label"].shape == (3, 6, 8)
    assert resized.fields[1].dtype == "|u1"
    write(labels / "01.npy", b"")
    with pytest.raises(BadInput, match="both labels of 01"):
        label_folder(images, labels)


def test_labels_with_a_suffix(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 3)
    for name in ("00", "01", "02"):
        (labels / f"{name}.png").rename(labels / f"{name}_mask.png")
    expected = "expected e.g. 00.png for 00.png, found 00_mask.png, 01_mask.png, 02_mask.png; set label_suffix"
    with pytest.raises(BadInput, match=re.escape(expected)):
        label_folder(images, labels)
    shutil.copy(labels / "01_mask.png", labels / "01.png")
    source = label_folder(images, labels, suffix="_mask")
    assert len(source.read(range(3)).columns["label"]) == 3
    assert source.walked["passed_over"] == {"without_suffix": {"count": 1, "examples": ["01.png"]}}
    with pytest.raises(BadInput, match=re.escape("expected e.g. 00_label.png for 00.png, found")):
        label_folder(images, labels, suffix="_label")


def test_archives_in_the_place_of_classes(tmp_path: Path) -> None:
    for path in ("n01.tar", "a/part1.zip", "a/part2.tgz"):
        (tmp_path / path).parent.mkdir(exist_ok=True)
        with tarfile.open(tmp_path / path, "w:gz" if path.endswith("z") else "w") as tar:
            tar.addfile(tarfile.TarInfo("x.jpg"))
    with zipfile.ZipFile(tmp_path / "a/part1.zip", "w") as zipped:
        zipped.writestr("x.jpg", b"x")
    with pytest.raises(BadInput, match=r"but 3 archives, which are not looked into: unpack n01\.tar"):
        class_folder(tmp_path)
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(BadInput, match=r"has no class folders, but 1 archives, .*: unpack n01.tar: images belong"):
        class_folder(tmp_path)


def test_label_arrays(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 3)
    shape = decode((images / "00.png").read_bytes()).shape[:2]
    for name, array in (
        ("00", np.full(shape, 70_000, np.int32)),
        ("01", np.zeros(shape)),
        ("02", np.zeros((3, 3), "u2")),
    ):
        (labels / f"{name}.png").unlink()
        np.save(labels / f"{name}.npy", array)
    source = label_folder(images, labels)
    found = reasons(source)
    assert set(found) == {"01.png", "02.png"}
    assert "label 01.npy cannot be used: labels are whole numbers" in found["01.png"]
    assert "label is (3, 3), the image" in found["02.png"]
    assert source.read([0]).columns["label"] == [(labels / "00.npy").read_bytes()]
    resized = Resized(source, (6, 8)).read([0]).columns["label"]
    np.testing.assert_array_equal(resized, np.full((1, 6, 8), 70_000, np.int32))


def test_label_shapes_must_fit(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 4)
    write(labels / "01.png", encoded(Image.new("L", (3, 3)), "PNG"))
    write(labels / "02.png", encoded(picture(0, 14, 15), "PNG"))
    deep = Image.fromarray(np.full((15, 14), 999, np.uint16))
    write(labels / "03.png", encoded(deep, "PNG"))
    source = label_folder(images, labels)
    assert reasons(source) == {"01.png": "its label is (3, 3), the image (13, 16) (height, width)"}
    (labels / "01.png").unlink()
    (images / "01.png").unlink()
    found = reasons(Resized(label_folder(images, labels), (6, 8)))
    assert "(14, 15, 3)" in found["02.png"]
    assert "999" in found["03.png"]


def test_labels_that_can_none_be_used_are_told_with_the_first_reason(tmp_path: Path) -> None:
    images, labels = dense(tmp_path, 2)
    for path in labels.iterdir():
        path.unlink()
        np.save(path.with_suffix(".npy"), np.zeros((4, 5), np.float32))
    with pytest.raises(BadInput, match=r"00\.png its label 00\.npy cannot be used: labels are whole numbers"):
        Resized(label_folder(images, labels), (6, 8))


def test_one_size_is_demanded_where_none_is_given(tmp_path: Path) -> None:
    for k in range(3):
        write(tmp_path / "a" / f"{k}.png", encoded(picture(k, 9, 9 + (k == 1)), "PNG"))
    source = Resized(class_folder(tmp_path), None)
    assert source.fields[0].shape == (9, 9, 3)
    assert "set a size" in reasons(source)["a/1.png"]


@pytest.mark.parametrize("size", [(0, 5), (5, 0), (-1, 5)])
def test_sizes_of_nothing(tmp_path: Path, size: tuple[int, int]) -> None:
    with pytest.raises(BadInput, match="height, width"):
        Resized(class_folder(folder(tmp_path)), size)


def test_images_inside_an_archive(tmp_path: Path) -> None:
    files = [encoded(picture(k, 8, 9)) for k in range(3)]
    archive = write(tmp_path / "x.tar", b"#" * 512 + b"".join(files))
    starts = np.cumsum([512, *map(len, files)])
    places = zip(starts.tolist(), map(len, files), strict=False)
    items = [Item(f"{k}.jpg", archive, k, *place) for k, place in enumerate(places)]
    items.append(Item("late.jpg", archive, 3, int(starts[3]) - 10, 99))
    items.append(Item("bad.jpg", archive, 4, problem="its member is cut"))
    source = ImageFiles(items)
    assert reasons(source) == {"late.jpg": "gives only 10 of its 99 bytes", "bad.jpg": "its member is cut"}
    assert source.read([2, 0]).columns["image"] == [files[2], files[0]]
    with pytest.raises(BadSamples) as caught:
        source.read([3])
    assert "only 10 of its 99" in caught.value.reasons[3]


def test_non_square(tmp_path: Path) -> None:
    write(tmp_path / "a" / "x.png", encoded(picture(0, 40, 30), "PNG"))
    pixels = Resized(class_folder(tmp_path), (40, 30)).read([0]).columns["image"][0]
    np.testing.assert_array_equal(pixels, decode((tmp_path / "a" / "x.png").read_bytes()))
