from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from imgassets.errors import MissingUpstream, StoreError
from imgassets.formats import systemds_read
from imgassets.formats.systemds_csv import CELLS, encode, encode_onehot
from imgassets.formats.systemds_read import check_sample, open_sample, parse_onehot, parse_rows
from imgassets.sampling import quota_order
from tests.formats.systemds_rows import images
from tests.formats.test_systemds_csv import make

blocks = st.tuples(st.integers(0, 9), st.integers(1, 20)).flatmap(
    lambda s: arrays(np.uint8, (s[0], 2 * s[1]), elements=st.one_of(st.integers(0, 255), st.sampled_from([0, 51, 255])))
)
DATA, LABELS = "imagenet_val_0.0002GB.csv", "imagenet_val_labels_0.0002GB.csv"


@settings(deadline=None)
@given(blocks)
def test_text_comes_back_as_pixels(block: np.ndarray) -> None:
    assert (parse_rows(encode(block), block.shape[1]) == block).all()


def test_all_pairs_of_levels_come_back() -> None:
    block = np.stack(np.meshgrid(range(256), range(256)), axis=-1).reshape(256, 512).astype(np.uint8)
    assert (parse_rows(bytes(encode(block)), 512) == block).all()


@settings(deadline=None)
@given(blocks.filter(lambda b: b.size > 0), st.data())
def test_any_other_byte_is_noticed(block: np.ndarray, data: st.DataObject) -> None:
    text = bytearray(encode(block))
    at = data.draw(st.integers(0, len(text) - 1))
    text[at] = data.draw(st.integers(0, 255).filter(lambda byte: byte != text[at]))
    try:
        other = parse_rows(bytes(text), block.shape[1])
    except ValueError:
        return
    assert bytes(encode(other)) == text != encode(block)  # a digit that makes another level's text


@pytest.mark.parametrize(
    "text",
    [
        *(b"0,1\n0.2,0.2", b"0,1", b"0\n", b"0,1,0\n", b"0, 1\n", b"0,1\r\n", b"0,1.0\n", b"0,0.502\n", b"0,-1\n"),
        *(b"0,nan\n", b"0,1\n\n", b"1,1e-3\n", b"0,0.50196081\n", b"0,.2\n", b"0\n1,", b",0\n", b"\xff,0\n"),
    ],
)
def test_texts_that_are_no_rows_of_two(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_rows(text, 2)


@settings(deadline=None)
@given(st.lists(st.integers(0, 8), max_size=20))
def test_onehot_comes_back(columns: list[int]) -> None:
    assert parse_onehot(encode_onehot(np.array(columns, int), 9).tobytes(), 9).tolist() == columns


@pytest.mark.parametrize("text", [b"0,0,0\n", b"1,0,1\n", b"0,1;0\n", b"0,1,0,", b"0,1,0", b"0,2,0\n"])
def test_texts_that_are_not_onehot(text: bytes) -> None:
    with pytest.raises(ValueError):
        parse_onehot(text, 3)


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sample") / "val"
    make(folder, images(900, 40), 0.0002)
    return folder


@pytest.mark.parametrize("chunk", [1, 1000, 1 << 20])
def test_a_sample_reads_back(sound: Path, chunk: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(systemds_read, "CHUNK", max(chunk, 14))
    sample = open_sample(sound)
    chosen = quota_order(np.arange(900) % 7, 0)[: len(sample)]
    assert (sample.global_index == chosen).all()
    assert (np.concatenate(list(sample.pixels())) == images(900, 40)[chosen]).all()
    assert (np.concatenate(list(sample.columns())) == chosen % 7).all()


def test_the_numbers_of_a_sound_sample(sound: Path) -> None:
    numbers = check_sample(sound)
    pixels = images(900, 40)[open_sample(sound).global_index]
    assert (numbers.rows, numbers.width, numbers.classes) == (len(pixels), 40, 7)
    assert (numbers.lowest, numbers.highest, numbers.nnz) == (pixels.min(), pixels.max(), np.count_nonzero(pixels))
    assert numbers.mean == pytest.approx(pixels.mean(), rel=1e-12)
    assert numbers.data_bytes + numbers.label_bytes + numbers.short_by == int(0.0002 * 2**30)
    assert numbers.most_of_a_class - numbers.fewest_of_a_class <= 1
    assert not numbers.all_rows


def edit(name: str, change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes())) and None


def edit_json(name: str, **values: object) -> Callable[[Path], None]:
    return edit(name, lambda text: json.dumps(json.loads(text) | values).encode())


def less_rows(folder: Path) -> None:
    for name in (DATA, LABELS):
        edit(name, lambda text: b"".join(text.splitlines(keepends=True)[:-3]))(folder)
        size = (folder / name).stat().st_size
        rows = len((folder / name).read_bytes().splitlines())
        edit_json(name + ".mtd", rows=rows, nnz=rows)(folder)
        edit_json("sample.json", rows=rows, **{"data_bytes" if name == DATA else "label_bytes": size})(folder)


DAMAGE = {
    "six decimals": edit(DATA, lambda t: t.replace(CELLS[128], b"0.501961")),
    "last newline": edit(DATA, lambda t: t[:-1]),
    "carriage returns": edit(DATA, lambda t: t.replace(b"\n", b"\r\n")),
    "a row less": edit(DATA, lambda t: b"".join(t.splitlines(keepends=True)[:-1])),
    "a label row less": edit(LABELS, lambda t: t[:-14]),
    "half a label row": edit(LABELS, lambda t: t[:-7]),
    "two ones": edit(LABELS, lambda t: b"1,1,0,0,0,0,0\n" + t[14:]),
    "rows less, consistently": less_rows,
    "nnz": edit_json(DATA + ".mtd", nnz=1),
    "label nnz": edit_json(LABELS + ".mtd", nnz=1),
    "rows": edit_json(DATA + ".mtd", rows=10**6),
    "rows as text": edit_json(LABELS + ".mtd", rows="5"),
    "true for one": edit_json(LABELS + ".mtd", header=0),
    "unknown key": edit_json(DATA + ".mtd", sha256="x"),
    "mtd gone": lambda folder: (folder / (DATA + ".mtd")).unlink(),
    "mtd no object": edit(DATA + ".mtd", lambda t: b"[]"),
    "another csv": lambda folder: (folder / "imagenet_val_3GB.csv").write_bytes(b"") and None,
    "index twice": edit(
        "sample.json", lambda t: json.dumps((d := json.loads(t)) | {"global_index": [0] * d["rows"]}).encode()
    ),
    "smaller target": edit_json("sample.json", target_bytes=1000),
    "sidecar no JSON": edit("sample.json", lambda t: t[:-3]),
    "sidecar of another": edit_json("sample.json", data="../../x.csv"),
}


@pytest.mark.parametrize("name", DAMAGE)
def test_every_damage_is_found(sound: Path, tmp_path: Path, name: str) -> None:
    for path in sound.iterdir():
        (tmp_path / path.name).write_bytes(path.read_bytes())
    check_sample(tmp_path)
    DAMAGE[name](tmp_path)
    with pytest.raises(StoreError, match="materialize it again"):
        check_sample(tmp_path)


def test_no_sample(tmp_path: Path) -> None:
    with pytest.raises(MissingUpstream, match="materialize the CSV sample first"):
        open_sample(tmp_path)
