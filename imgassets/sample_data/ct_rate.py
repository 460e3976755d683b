"""A small folder shaped like CT-RATE: chests drawn from ellipsoids, invented reports, and the dirt of the real one."""

from __future__ import annotations

import csv
import gzip
import io
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from imgassets.sources.ct_rate import CLASSES, table_paths

SHAPE = (128, 128, 60)
SPACING = (2.6, 2.2, 4.5)
VOLUMES = {
    "train": ("train_1_a_1", "train_1_a_2", "train_2_a_1", "train_3_a_1", "train_10_a_1", "train_11_a_1"),
    "valid": ("valid_1_a_1", "valid_2_a_1"),
}
BLANK, ABSENT, NO_SPACING = "train_2_a_1", "train_3_a_1", "train_11_a_1"
"""What real copies have too: a volume of zeros, a row without a file, a row without ZSpacing."""
WIDE_INTERCEPT = "train_10_a_1"
"""Its row says RescaleIntercept -8192 although its voxels are HU: applying it would leave nothing."""
FINDINGS = (
    "Trachea and both main bronchi are open. No occlusive pathology was detected.",
    "A nonspecific nodule of 4 mm was observed in the right lower lobe.",
    "Not given.",
)
IMPRESSIONS = ("Not given.", "Findings consistent with emphysema.", "No active infiltration.")


def write(raw: Path) -> None:
    """Write `ct_rate/dataset/...` below `raw`."""
    for path, data in files():
        place = raw / "ct_rate" / path
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)


def files(
    volumes: Mapping[str, tuple[str, ...]] = VOLUMES,
    shape: tuple[int, int, int] = SHAPE,
    spacing: tuple[float, float, float] = SPACING,
) -> Iterator[tuple[str, bytes]]:
    """Path and content of every file of such a repository; the same ones each time."""
    for split, keys in volumes.items():
        for number, key in enumerate(keys):
            if key != ABSENT:
                data = np.zeros(shape, np.int16) if key == BLANK else chest(shape, number + 100 * len(split))
                patient, scan = key.rsplit("_", 2)[0], key.rsplit("_", 1)[0]
                yield f"dataset/{split}_fixed/{patient}/{scan}/{key}.nii.gz", nifti(data, spacing)
        paths = table_paths(split)
        yield paths["metadata"], _csv([_metadata(key, spacing) for key in keys])
        yield paths["labels"], _csv([_labels(key, number) for number, key in enumerate(keys)])
        yield paths["reports"], _csv([_report(key, number) for number, key in enumerate(keys)][::-1])


def chest(shape: tuple[int, int, int], seed: int) -> NDArray[np.int16]:
    """A chest in HU, int16 (x, y, z): body, two lungs, heart, spine and noise, different for every seed."""
    rng = np.random.default_rng(seed)
    x, y, z = np.meshgrid(*(np.linspace(-1, 1, n, dtype=np.float32) for n in shape), indexing="ij", sparse=True)
    size = 1 + rng.uniform(-0.06, 0.06)

    def inside(cx: float, cy: float, cz: float, rx: float, ry: float, rz: float) -> NDArray[np.bool_]:
        return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 + ((z - cz) / rz) ** 2 < size  # type: ignore[no-any-return]

    hu = np.full(shape, -1000, np.float32)
    hu[inside(0, 0, 0, 0.85, 0.62, 4)] = -90
    hu[inside(0, 0, 0, 0.80, 0.57, 4)] = 45
    for side in (-1, 1):
        hu[inside(side * 0.40, -0.02, 0.1, 0.30, 0.42, 0.95)] = -860
        hu[inside(side * rng.uniform(0.3, 0.5), rng.uniform(-0.2, 0.2), rng.uniform(-0.3, 0.3), 0.05, 0.05, 0.06)] = 60
    hu[inside(0.10, -0.18, -0.30, 0.24, 0.20, 0.40)] = 55
    hu[inside(0, 0.40, 0, 0.11, 0.10, 4) & (np.sin(z * 40) > -0.6)] = 420
    return np.rint(hu + rng.normal(0, 12, shape)).astype(np.int16)


def nifti(data: NDArray[np.int16], spacing: tuple[float, float, float]) -> bytes:
    """A `.nii.gz` of int16 (x, y, z)."""
    header = bytearray(352)
    struct.pack_into("<i", header, 0, 348)
    struct.pack_into("<8h", header, 40, 3, *data.shape, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, 4, 16)
    struct.pack_into("<8f", header, 76, 1, *spacing, 1, 1, 1, 1)
    struct.pack_into("<3f", header, 108, 352, 1, 0)
    header[123] = 2  # xyzt_units: mm
    header[344:348] = b"n+1\0"
    return gzip.compress(bytes(header) + data.tobytes("F"), 1, mtime=0)


def _metadata(key: str, spacing: tuple[float, float, float]) -> dict[str, object]:
    x, y, z = spacing
    return {
        "VolumeName": f"{key}.nii.gz",
        "RescaleSlope": 1,
        "RescaleIntercept": -8192 if key == WIDE_INTERCEPT else 0,
        "XYSpacing": f"[{x}, {y}]",
        "ZSpacing": "" if key == NO_SPACING else z,
    }


def _labels(key: str, number: int) -> dict[str, object]:
    values = np.random.default_rng(number).random(len(CLASSES)) < np.linspace(0.6, 0.1, len(CLASSES))
    return {"VolumeName": f"{key}.nii.gz", **dict(zip(CLASSES, values.astype(int).tolist(), strict=True))}


def _report(key: str, number: int) -> dict[str, object]:
    return {
        "VolumeName": f"{key}.nii.gz",
        "ClinicalInformation_EN": "Not given.",
        "Technique_EN": "Drawn, not scanned.",
        "Findings_EN": FINDINGS[number % len(FINDINGS)],
        "Impressions_EN": IMPRESSIONS[number // 2 % len(IMPRESSIONS)],
    }


def _csv(rows: list[dict[str, object]]) -> bytes:
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode("utf-8-sig")
