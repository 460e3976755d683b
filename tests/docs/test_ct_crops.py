"""What the page on CT shards says of crops, done as it stands there."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

import imgassets
from imgassets.sources.ct_rate import CLASSES
from tests.formats.ct_making import SHAPE, sample, write_split

PAGE = Path(next(iter(imgassets.__path__))) / "docs" / "formats" / "ct_shard.md"


def test_the_page_s_crops(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (text,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    (tmp_path / "store/ct_rate/shards/train").mkdir(parents=True)
    folder = write_split(tmp_path / "store/ct_rate/shards/train")
    manifest = (folder / "manifest.json").read_text()
    nodule = next(k for k in range(18) if 0 < sum(sample(n).labels[k] for n in range(5)) < 5)
    (folder / "manifest.json").write_text(manifest.replace(f'"c{nodule}"', '"Lung nodule"'))
    assert "Lung nodule" in CLASSES
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {}
    exec(text.replace("(96, 96, 96)", "(4, 3, 2)"), names)  # noqa: S102  (volumes of tests are small)
    assert np.shape(names["volumes"])[1:] == (4, 3, 2)
    assert SHAPE == (6, 5, 4)
    nodules: list[tuple[object, list[str], object]] = list(names["nodules"])  # type: ignore[call-overload]
    assert sum(len(reports) for _, reports, _ in nodules) == 5 * 4
