"""Joining a repository's tree with its tables, and cutting it into shards."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from imgassets.errors import BadInput
from imgassets.sources.ct_rate import (
    CLASSES,
    Listing,
    Table,
    join,
    key_of,
    read_list,
    read_table,
    report_of,
    table_paths,
    why_none,
)
from imgassets.sources.hub import RemoteFile

METADATA = {"RescaleSlope": "1", "RescaleIntercept": "-1024", "XYSpacing": "[0.75, 0.7]", "ZSpacing": "1.5"}
LABELS = dict.fromkeys(CLASSES, "1")
REPORT = {"Findings_EN": "Seen.", "Impressions_EN": "Not given."}


def table(name: str, keys: list[str], values: dict[str, str], contradicted: tuple[str, ...] = ()) -> Table:
    rows = {key: {"VolumeName": f"{key}.nii.gz", **values} for key in keys}
    return Table(name, ("VolumeName", *values), rows, frozenset(contradicted), frozenset(contradicted))


def listing(keys: list[str], present: list[str] | None = None, size: int = 4, **changed: Table) -> Listing:
    tables = {
        "metadata": table("metadata.csv", keys, METADATA),
        "labels": table("labels.csv", keys, LABELS),
        "reports": table("reports.csv", keys, REPORT),
        **changed,
    }
    files = [RemoteFile(f"dataset/train_fixed/{k}.nii.gz", 1, "0" * 64) for k in (keys if present is None else present)]
    return join(files, tables["metadata"], tables["labels"], tables["reports"], size, spacing=True)


@example(255, 128)
@example(256, 128)
@example(257, 128)
@given(st.integers(1, 70), st.integers(1, 20))
def test_every_shard_but_the_last_is_full_and_numbers_are_contiguous(count: int, size: int) -> None:
    keys = [f"train_{i}_a_1" for i in range(count)]
    found = listing(keys[::-1], size=size)
    assert [volume.key for volume in found.volumes] == keys
    assert [volume.shard for volume in found.volumes] == [i // size for i in range(count)]
    assert found.shards == -(-count // size)


def test_natural_order_and_what_is_said_of_a_volume() -> None:
    found = listing(["train_10_a_1", "train_2_b_1", "train_2_a_2", "train_2_a_10"])
    assert [v.key for v in found.volumes] == ["train_2_a_2", "train_2_a_10", "train_2_b_1", "train_10_a_1"]
    first = found.volumes[0]
    assert (first.spacing, first.scale, first.labels, first.report) == (
        (0.75, 0.7, 1.5),
        (1, -1024),
        (1,) * 18,
        "Seen.",
    )


def test_what_cannot_be_used_is_left_out_before_shards_are_cut() -> None:
    keys = [f"train_{i}_a_1" for i in range(8)]
    bad = table("metadata.csv", keys, METADATA)
    rows = dict(bad.rows) | {
        keys[2]: {**bad.rows[keys[2]], "ZSpacing": ""},
        keys[3]: {**bad.rows[keys[3]], "ZSpacing": "0"},
    }
    labels = table("labels.csv", keys, LABELS, contradicted=(keys[4],))
    rows_of_labels = dict(labels.rows) | {keys[5]: {**labels.rows[keys[5]], CLASSES[3]: "2"}}
    found = listing(
        keys,
        [*keys[1:], "train_99_a_1"],
        size=2,
        metadata=Table("metadata.csv", bad.columns, rows, frozenset(), frozenset()),
        labels=Table("labels.csv", labels.columns, rows_of_labels, frozenset([keys[4]]), frozenset([keys[4]])),
    )
    reasons = {volume.key: volume.skip for volume in found.volumes if volume.skip}
    assert [volume.key for volume in found.volumes if volume.shard is not None] == [keys[1], keys[6], keys[7]]
    assert "absent" in str(reasons[keys[0]])
    assert "no spacing" in str(reasons[keys[2]])
    assert "no spacing" in str(reasons[keys[3]])
    assert "contradictory" in str(reasons[keys[4]])
    assert "labels" in str(reasons[keys[5]])
    assert "unlisted" in str(reasons["train_99_a_1"])
    assert found.reconciliation["listed_but_absent"] == [keys[0]]
    assert found.reconciliation["present_but_unlisted"] == ["train_99_a_1"]
    assert found.shards == 2


def test_two_files_of_one_name_are_not_guessed_between() -> None:
    found = listing(["train_1_a_1"], ["a/train_1_a_1", "b/train_1_a_1"])
    assert "two files" in str(found.volumes[0].skip)


def test_label_columns_must_be_the_classes_in_order() -> None:
    swapped = dict.fromkeys([CLASSES[1], CLASSES[0], *CLASSES[2:]], "0")
    with pytest.raises(BadInput, match=r"labels\.csv has 18 classes"):
        listing(["x"], labels=table("labels.csv", ["x"], swapped))


def test_reads_tables_as_they_are(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_bytes('VolumeName,A\na.nii.gz,"x, ""y""\nz"\nb.nii.gz,2\nb.nii.gz,2\na.nii.gz,3\n'.encode("utf-8-sig"))
    found = read_table(path, "t.csv", ["A"])
    assert found.rows["a"]["A"] == 'x, "y"\nz'
    assert (found.repeated, found.contradicted) == ({"a", "b"}, {"a"})


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "no column 'VolumeName'"),
        (b"VolumeName,B\n", "no column 'A'"),
        (b"VolumeName,A\nx\n", "line 2: 1 values, 2 are expected"),
        (b"VolumeName,A\nx,1,2\n", "line 2: 3 values, 2 are expected"),
        (b",VolumeName,A\n0,x,1,2\n", "line 2: 4 values, 3 are expected"),
        (b"VolumeName,A\nx,\xff\n", "not in UTF-8"),
        (b'VolumeName,A\nx,"1\n2"\ny,"a "b" c"\n', "line 4: ',' expected after '\"'"),
        (b'VolumeName,A\nx,"1\n2"\ny\n', "line 4: 1 values"),
        (b'VolumeName,A\nx,"1\n2\n', "line 2: unexpected end of data"),
    ],
)
def test_refuses_tables_that_are_none(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(BadInput, match=r"t\.csv") as error:
        read_table(tmp_path / "t.csv", "t.csv", ["A"])
    assert reason in str(error.value)


@pytest.mark.parametrize("header", [b",VolumeName,A", b"Unnamed: 0.1,Unnamed: 0,VolumeName,A"])
@pytest.mark.parametrize("end", [b"\n", b"\r\n"])
def test_an_index_of_pandas_is_no_column(tmp_path: Path, header: bytes, end: bytes) -> None:
    row = b"0," * (header.count(b",") - 1) + b"x.nii.gz,1"
    (tmp_path / "t.csv").write_bytes(end.join([header, row, b""]))
    found = read_table(tmp_path / "t.csv", "t.csv", ["A"])
    assert (found.columns, found.rows) == (("VolumeName", "A"), {"x": {"VolumeName": "x.nii.gz", "A": "1"}})


@pytest.mark.parametrize(
    "text", ["[0.75, 0.7]", "(0.75, 0.7)", "0.75 0.7", "0.75,0.7", "['0.75', '0.7']", "[0.75 0.70]", "0.75\\7e-1"]
)
def test_spacings_of_any_list_spelling(text: str) -> None:
    (volume,) = listing(["x"], metadata=table("metadata.csv", ["x"], METADATA | {"XYSpacing": text})).volumes
    assert (volume.skip, volume.spacing) == (None, (0.75, 0.7, 1.5))


@pytest.mark.parametrize("text", ["0,75, 0,7", "[0.75]", "[1, 2, 3]", "nan nan", "0.75 x 0.7", "[-1, 1]", ""])
def test_spacings_that_are_none(text: str) -> None:
    found = listing(["x"], metadata=table("metadata.csv", ["x"], METADATA | {"XYSpacing": text}))
    assert found.volumes[0].skip == f"no spacing: XYSpacing {text!r}, ZSpacing '1.5' in metadata.csv"
    assert why_none(found.volumes) == f"1 × {found.volumes[0].skip} (x)"


def test_lists_name_files_or_paths(tmp_path: Path) -> None:
    (tmp_path / "l").write_text(
        "\ufefftrain_1_a_1.nii.gz\r\n\n # a note\ndata/train_2_a_1.nii.gz  # head\ntrain_3_a_1\n"
    )
    assert read_list(tmp_path / "l") == {"train_1_a_1", "train_2_a_1", "train_3_a_1"}
    (tmp_path / "l").write_bytes(b"\xff\xfe")
    with pytest.raises(BadInput, match="l is no list in UTF-8"):
        read_list(tmp_path / "l")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a pointer of Git LFS"),
        (b"<!DOCTYPE html><p>403", "is a web page"),
        (b"\ntrain_1_a_1.nii.gz\nEntry not found\n", "line 3: 'Entry not found' is no name of a volume"),
        (b'{"error": "Unauthorized"}', "line 1: "),
    ],
)
def test_what_is_no_list_is_refused(tmp_path: Path, content: bytes, told: str) -> None:
    (tmp_path / "l").write_bytes(content)
    with pytest.raises(BadInput, match=told):
        read_list(tmp_path / "l")


def test_lists_that_a_table_was_saved_as(tmp_path: Path) -> None:
    (tmp_path / "l").write_bytes(b"\"train_1_a_1.nii.gz\",\r\n'a/train_2_a_1'\t\n")
    assert read_list(tmp_path / "l") == {"train_1_a_1", "train_2_a_1"}


def test_reasons_are_counted() -> None:
    found = listing(["a", "b", "c"], present=["c"], reports=table("reports.csv", ["a", "b"], REPORT))
    assert why_none(found.volumes) == (
        "2 × absent: listed in the tables, no such file in the repository (a); 1 × unlisted: no row in reports.csv (c)"
    )


def test_names() -> None:
    assert key_of("train_1_a_1.nii.gz") == key_of("train_1_a_1.npz") == key_of("train_1_a_1") == "train_1_a_1"
    assert table_paths("valid")["metadata"] == "dataset/metadata/validation_metadata.csv"
    assert table_paths("valid")["labels"] == "dataset/multi_abnormality_labels/valid_predicted_labels.csv"
    assert report_of({"Findings_EN": " Not given.", "Impressions_EN": "Clear. "}) == "Clear."
