"""Names, labels and checksums around the archives; the index of a small release; what is refused."""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from imgassets.classes import imagenet_classes
from imgassets.errors import BadInput
from imgassets.images.judge import inspect
from imgassets.sample_data import ilsvrc2012
from imgassets.sources import ilsvrc, tar_index
from imgassets.sources.ilsvrc_index import Ilsvrc, IlsvrcIndex
from imgassets.sources.tar_index import SHARD_COLUMNS, TarImages
from tests.pictures import encode, jpeg, picture
from tests.tars import tar

TRAIN, VALIDATION = (ilsvrc.ARCHIVES[split].file for split in ("train", "validation"))
CAT, DOG, FISH = "n02123045", "n02085620", "n01440764"


@cache
def picture_of(seed: int) -> bytes:
    return jpeg(seed)


def members(synset: str, count: int = 2) -> list[tuple[str, bytes]]:
    return [(f"{synset}_{i}.JPEG", picture_of(i)) for i in range(count)]


def train(folder: Path, *inner: tuple[str, bytes]) -> Ilsvrc:
    (folder / TRAIN).write_bytes(tar(inner))
    return Ilsvrc(folder, ("train",))


def validation(folder: Path, images: list[tuple[str, bytes]], labels: str = "") -> Ilsvrc:
    (folder / VALIDATION).write_bytes(tar(images))
    (folder / ilsvrc.SYNSET_LABELS).write_text(labels or f"{CAT}\n" * len(images))
    return Ilsvrc(folder, ("validation",))


def index(source: Ilsvrc, **settings: Any) -> IlsvrcIndex:
    return source.index(source.splits[0], **settings)


def refusal(act: Callable[[], object]) -> str:
    with pytest.raises(BadInput) as caught:
        act()
    return str(caught.value)


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> Path:
    raw = tmp_path_factory.mktemp("raw")
    ilsvrc2012.write(raw)
    return raw / "ilsvrc2012"


def contents(release: Path, split: str) -> dict[str, bytes]:
    """Name to bytes, read by the standard library."""
    found = {}
    with tarfile.open(release / ilsvrc.ARCHIVES[split].file) as archive:
        for member in archive:
            data = archive.extractfile(member).read()  # type: ignore[union-attr]
            if split == "validation":
                found[member.name] = data
            else:
                with tarfile.open(fileobj=io.BytesIO(data)) as inner:
                    found |= {m.name: inner.extractfile(m).read() for m in inner}  # type: ignore[union-attr]
    return found


@pytest.mark.parametrize("split", ["train", "validation"])
def test_the_index_says_of_every_image_what_other_programs_say(release: Path, split: str) -> None:
    wanted = contents(release, split)
    digests = {name: hashlib.md5(data, usedforsecurity=False).hexdigest() for name, data in wanted.items()}
    archive = (release / ilsvrc.ARCHIVES[split].file).read_bytes()
    found = Ilsvrc(release).index(split, workers=2)
    rows = found.table.to_pylist()
    assert [row["name"] for row in rows] == sorted(wanted)
    assert [row["index"] for row in rows] == list(range(len(wanted)))
    labels = (release / ilsvrc.SYNSET_LABELS).read_text().split()
    for i, row in enumerate(rows):
        assert archive[row["offset"] : row["offset"] + row["size"]] == wanted[row["name"]]
        assert row["md5"] == digests[row["name"]]
        assert row["synset"] == (row["name"].partition("_")[0] if split == "train" else labels[i])
        assert imagenet_classes().synsets[row["class_id"]] == row["synset"]
        assert row["label"] == row["class_id"] + 1
        assert row["problem"] is None
        assert row["warning"] is None
        assert (inspect(wanted[row["name"]]).kind == "jpg") == (row["format"] == "JPEG")
    assert {row["colour"] for row in rows} == {"gray", "rgb", "cmyk"} if split == "train" else {"rgb", "cmyk"}
    assert {row["format"] for row in rows} == {"JPEG", "PNG"}
    report = found.report
    assert report["archive"]["md5"] == report["archive"]["expected_md5"]
    assert report["archive"]["expected_by"] == "MD5SUMS"
    assert report["images"] == len(wanted) == sum(report["images_per_synset"].values())
    assert found.table.schema == tar_index.schema()


def test_the_number_of_threads_changes_nothing(release: Path) -> None:
    one, many = (Ilsvrc(release).index("train", workers=n) for n in (1, 5))
    assert one == many


def test_images_are_read_again_from_the_index(release: Path, tmp_path: Path) -> None:
    wanted = contents(release, "train")
    rows = index(Ilsvrc(release)).table.select(SHARD_COLUMNS)
    images = TarImages(release / TRAIN, rows)
    assert {image.name: image.encoded for image in images} == wanted
    assert images.nbytes == sum(map(len, wanted.values()))
    assert sum(not image.ordinary for image in images) == 4  # two CMYK, two PNG
    changed = bytearray((release / TRAIN).read_bytes())
    changed[rows["offset"][5].as_py() + 300] ^= 1
    (tmp_path / TRAIN).write_bytes(changed)
    text = refusal(lambda: list(TarImages(tmp_path / TRAIN, rows)))
    assert f"holds other bytes at {rows['name'][5]} " in text
    (tmp_path / TRAIN).write_bytes(changed[:5000])
    assert "it was cut" in refusal(lambda: list(TarImages(tmp_path / TRAIN, rows)))


def test_rows_are_sorted_whatever_the_archives_order(tmp_path: Path) -> None:
    inner = {synset: tar(reversed(members(synset, 12))) for synset in (DOG, FISH, CAT)}
    found = index(train(tmp_path, *((f"./{synset}.tar", data) for synset, data in inner.items())))
    names = found.table["name"].to_pylist()
    assert names == sorted(names)
    assert found.table["class_id"].to_pylist() == [0] * 12 + [151] * 12 + [281] * 12


def test_labels_count_among_those_present_on_request(tmp_path: Path) -> None:
    train(tmp_path, *((f"{synset}.tar", tar(members(synset))) for synset in (CAT, FISH)))
    validation(tmp_path, [("a.JPEG", picture_of(0)), ("b.JPEG", picture_of(1))], f"{CAT}\n{DOG}\n")
    both = Ilsvrc(tmp_path, labels="present")
    labels = [both.index(split).table["label"].to_pylist() for split in ("train", "validation")]
    assert labels == [[1, 1, 3, 3], [3, 2]]  # of the sorted FISH, DOG, CAT
    one = Ilsvrc(tmp_path, ("train",), labels="present")
    assert index(one).table["label"].to_pylist() == [1, 1, 2, 2]
    assert both.label_fingerprint() != one.label_fingerprint()
    assert Ilsvrc(tmp_path).label_fingerprint() == "full"


@pytest.mark.parametrize(
    ("inner", "text"),
    [
        ([("n99999999.tar", b"")], "expected <synset>.tar of one of the 1000"),
        ([("README", b"x")], "holds 'README', expected <synset>.tar"),
        ([(f"{CAT}.tar", tar(members(CAT))), (f"a/{CAT}.tar", tar(members(CAT)))], f"holds two tars of {CAT}"),
        ([(f"{CAT}.tar", tar(members(DOG)))], f"holds '{DOG}_0.JPEG', expected only images named {CAT}_"),
        ([(f"{CAT}.tar", tar(members(CAT))[:700])], f"{CAT}.tar declares a member"),
        ([(f"{CAT}.tar", tar([("../../x.JPEG", b"")]))], "leaves the archive's folder"),
        ([(f"{CAT}.tar", tar([(f"a/{CAT}_1.JPEG", b"1"), (f"b/{CAT}_1.JPEG", b"2")]))], "two images named"),
        ([(f"{CAT}.tar", b"")], "has 0 bytes and is no tar archive"),
        ([(f"{CAT}.tar", tar([]))], "holds no images"),
    ],
)
def test_refuses_training_archives(tmp_path: Path, inner: list[tuple[str, bytes]], text: str) -> None:
    source = train(tmp_path, *inner)
    found = refusal(lambda: index(source))
    assert text in found
    assert TRAIN in found


def test_what_other_systems_leave_in_archives_is_counted(tmp_path: Path) -> None:
    left = b"\0\5\x16\7"
    inner = tar([(f"._{CAT}_0.JPEG", left), *members(CAT)])
    found = index(train(tmp_path, (f"._{CAT}.tar", left), (f"{CAT}.tar", inner)))
    assert found.table["name"].to_pylist() == [f"{CAT}_0.JPEG", f"{CAT}_1.JPEG"]
    why = "was left there by another system"
    assert found.report["strays"] == [{"name": name, "reason": why} for name in (f"._{CAT}.tar", f"._{CAT}_0.JPEG")]
    assert found.walked == len(found.table) + len(found.report["strays"]) == 4
    assert "ends with '._x': repack" in refusal(lambda: index(train(tmp_path, (f"{CAT}.tar", inner), ("._x", left))))


def test_lists_what_is_damaged_and_keeps_its_place(tmp_path: Path) -> None:
    whole = picture_of(0)
    images = [
        ("a.JPEG", whole),
        ("b.JPEG", b""),
        ("c.JPEG", b"<html>404 Not Found</html>"),
        ("d.JPEG", whole[: len(whole) // 2]),
        ("e.JPEG", whole[:-100] + b"\xff\xd9"),
        ("notes.txt", b"hello"),
        ("f.JPEG", whole),
    ]
    source = validation(tmp_path, images, f"{CAT}\n{DOG}\n{CAT}\n{DOG}\n{CAT}\n{FISH}\n")
    found = index(source)
    assert [item["name"] for item in found.report["damaged"]] == ["b.JPEG", "c.JPEG", "d.JPEG"]
    assert found.report["damaged"][0]["reason"] == "is empty"
    assert [item["name"] for item in found.report["warnings"]] == ["e.JPEG"]
    assert [item["name"] for item in found.report["strays"]] == ["notes.txt"]
    assert found.walked == len(images)
    assert found.table["synset"].to_pylist() == [CAT, DOG, CAT, DOG, CAT, FISH]
    assert found.table["width"].to_pylist() == [64, None, None, None, 64, 64]
    images_ = TarImages(tmp_path / VALIDATION, found.table.select(SHARD_COLUMNS))
    assert [image.name for image in images_] == ["a.JPEG", "e.JPEG", "f.JPEG"]
    assert [item["name"] for item in images_.left_out] == ["b.JPEG", "c.JPEG", "d.JPEG"]
    assert len(images_) == 3


def test_what_tensorflow_does_not_decode_is_listed(tmp_path: Path) -> None:
    frames = [Image.fromarray(picture(k)) for k in range(2)]
    moving = io.BytesIO()
    frames[0].save(moving, "GIF", save_all=True, append_images=frames[1:])
    found = index(validation(tmp_path, [("a.JPEG", moving.getvalue()), ("b.JPEG", encode(picture(0), "WEBP"))]))
    assert [item["reason"] for item in found.report["damaged"]] == [
        "is animated, expected one picture",
        "is of the kind webp, expected JPEG, PNG, BMP or GIF",
    ]


def test_an_image_of_absurd_size_is_listed_and_never_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tar_index, "MAX_IMAGE", 1000)
    found = index(validation(tmp_path, [("a.JPEG", bytes(1001))]))
    assert "more than the 1000 an image may have" in found.report["damaged"][0]["reason"]
    assert found.table["md5"].to_pylist() == [None]


def test_ground_truth_is_checked(tmp_path: Path) -> None:
    images = [(f"{name}.JPEG", picture_of(0)) for name in "abc"]

    def found(labels: str) -> str:
        return refusal(lambda: index(validation(tmp_path, images, labels)))

    assert "has 2 lines but ILSVRC2012_img_val.tar holds 3 images" in found(f"{CAT}\n{DOG}\n")
    assert "has 4 lines but" in found(f"{CAT}\n" * 4)
    assert "Line 2 of" in found(f"{CAT}\nn99999999\n{CAT}\n")
    assert "Line 2 of" in found(f"{CAT}\n\n{CAT}\n")
    truth = tmp_path / ilsvrc.GROUND_TRUTH
    truth.write_text("11\n22\n33\n")
    assert "differ in line 1" in found(f"{CAT}\n" * 3)
    (tmp_path / ilsvrc.SYNSET_LABELS).unlink()
    devkit = {int(i): s for i, s in zip(imagenet_classes().devkit_ids, imagenet_classes().synsets, strict=True)}
    assert ilsvrc.validation_synsets(tmp_path) == [devkit[11], devkit[22], devkit[33]]
    for bad in ("0", "1001", "-1", "x", "1.0", "²"):
        truth.write_text(f"1\n{bad}\n3\n")
        assert f"Line 2 of {truth} is {bad!r}" in refusal(lambda: ilsvrc.validation_synsets(tmp_path))
    truth.unlink()
    assert "holds neither synset_labels.txt" in refusal(lambda: ilsvrc.validation_synsets(tmp_path))


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("00000001", "00000003"), "ILSVRC2012_val_00000003.JPEG, to which line 2"),
        (("00000000", "00000001"), "ILSVRC2012_val_00000000.JPEG, to which line 1"),
        ((f"00000001_{CAT}", f"00000002_{CAT}"), f"ILSVRC2012_val_00000002_{CAT}.JPEG, to which line 2"),
    ],
)
def test_a_name_that_contradicts_its_line_is_refused(tmp_path: Path, names: tuple[str, str], first: str) -> None:
    images = [(f"ILSVRC2012_val_{name}.JPEG", picture_of(0)) for name in names]
    assert first in refusal(lambda: index(validation(tmp_path, images, f"{CAT}\n{DOG}\n")))
    agreeing = [(f"ILSVRC2012_val_0000000{k + 1}_{s}.JPEG", picture_of(0)) for k, s in enumerate((CAT, DOG))]
    assert index(validation(tmp_path, agreeing, f"{CAT}\n{DOG}\n")).table["synset"].to_pylist() == [CAT, DOG]


def test_both_label_files_may_be_there_if_they_agree(release: Path, tmp_path: Path) -> None:
    synsets = (release / ilsvrc.SYNSET_LABELS).read_text().split()
    (tmp_path / ilsvrc.SYNSET_LABELS).write_text("\n".join(synsets))
    ids = [str(imagenet_classes().devkit_ids[imagenet_classes().class_id(s)]) for s in synsets]
    (tmp_path / ilsvrc.GROUND_TRUTH).write_text("\n".join(ids))
    assert ilsvrc.validation_synsets(tmp_path) == synsets
    (tmp_path / ilsvrc.GROUND_TRUTH).write_text("\n".join(ids[:-1]))
    assert "differ in length: 30 and 29 lines" in refusal(lambda: ilsvrc.validation_synsets(tmp_path))


def test_labels_written_on_windows(tmp_path: Path) -> None:
    synsets = imagenet_classes().synsets[:2]
    text = "\r\n".join(["\ufeff" + synsets[0], synsets[1] + " ", "", ""])
    (tmp_path / ilsvrc.SYNSET_LABELS).write_text(text, encoding="utf-8", newline="")
    assert ilsvrc.validation_synsets(tmp_path) == list(synsets)


def test_md5_is_compared_and_refused_on_request(tmp_path: Path) -> None:
    source = train(tmp_path, (f"{CAT}.tar", tar(members(CAT))))
    archive = index(source).report["archive"]
    assert archive["md5"] is None  # of another size than the published one, so surely another file
    assert archive["expected_by"] == "the published release"
    strict = Ilsvrc(tmp_path, ("train",), verify_md5=True)
    assert "bytes, MD5 not computed) is not what the published release has" in refusal(lambda: index(strict))
    right = hashlib.md5((tmp_path / TRAIN).read_bytes(), usedforsecurity=False).hexdigest()
    (tmp_path / ilsvrc.MD5SUMS).write_text(f"{right}  {TRAIN}\n")
    assert index(strict).report["archive"]["md5"] == right
    (tmp_path / ilsvrc.MD5SUMS).write_text(f"{'0' * 32} *{TRAIN}\n")
    assert index(source).report["archive"]["md5"] == right
    assert f"MD5 {right}) is not what MD5SUMS has (MD5 {'0' * 32})" in refusal(lambda: index(strict))
    (tmp_path / ilsvrc.MD5SUMS).write_text("nonsense\n")
    assert "Line 1 of" in refusal(lambda: index(source))


def test_a_missing_archive_is_named(tmp_path: Path) -> None:
    assert f"{TRAIN} is missing: download it" in refusal(lambda: Ilsvrc(tmp_path).archive("train"))
    assert "is missing" in refusal(lambda: Ilsvrc(tmp_path).index("train"))


def test_an_archive_that_changes_meanwhile_is_refused(tmp_path: Path) -> None:
    source = train(tmp_path, (f"{CAT}.tar", tar(members(CAT))))

    def meddle(nbytes: int) -> None:
        (tmp_path / TRAIN).touch()

    os.utime(tmp_path / TRAIN, ns=(0, 0))
    assert "changed while it was read" in refusal(lambda: index(source, passed=meddle))
