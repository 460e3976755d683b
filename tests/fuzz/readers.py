"""Whatever reads bytes of others: small sound files of each kind, and all of what reads them."""

from __future__ import annotations

import atexit
import io
import json
import shutil
import tarfile
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path

import numpy as np
import pyarrow as pa  # noqa: TID253
from PIL import Image

from imgassets import open_store
from imgassets.augment import RandomResizedCrop, Resize
from imgassets.augment.draws import draws
from imgassets.augment.fitting import fit
from imgassets.classes import imagenet_classes
from imgassets.commit import Vault
from imgassets.commit import manifest as manifests
from imgassets.commit.owners import owner_of
from imgassets.components.ct.index import NEEDED
from imgassets.components.declarations import refuse_mistakes
from imgassets.formats import activation_npz, ct_shard, ct_split, png_tar, systemds_binary, systemds_read
from imgassets.formats.arrays import Arrays, ImageRows
from imgassets.formats.imagenet_folder import open_split
from imgassets.formats.index import IndexReader
from imgassets.formats.tfrecord import TFRecordFile
from imgassets.images import judge, pixels
from imgassets.images.header import BadImage
from imgassets.models.checkpoint import read_state
from imgassets.models.config import NetworkConfig
from imgassets.models.wrappers import flat
from imgassets.operations.links import Links
from imgassets.ownership import home_id
from imgassets.projects import Project
from imgassets.sources import ilsvrc, imagenet_npz, npz
from imgassets.sources.ct_rate import CLASSES, Table, join, read_table
from imgassets.sources.ct_webdataset import Archives
from imgassets.sources.folder import class_folder
from imgassets.sources.hub import Hub, RemoteFile
from imgassets.sources.nested_tar import Tape, walk
from imgassets.sources.tar_index import scan
from imgassets.stores.dataset import Store
from imgassets.stores.records import RecordStore
from imgassets.stores.registry import BUNDLED
from imgassets.testing import making
from imgassets.volumes.nifti import read_nifti
from imgassets.volumes.npz import read_npz
from tests.commit.kinds import Kinds
from tests.formats import ct_making
from tests.volumes.phantom import chest, nifti_bytes

ROWS = 6
"""Rows that are read of a store, whatever it says it has."""


@dataclass(frozen=True)
class Reader:
    """Makes a folder of sound files, and reads all of such a folder."""

    make: Callable[[Path], object]
    read: Callable[[Path], object]
    files: str = "**/*"
    """Those that are changed."""
    names: tuple[str, ...] = ()
    """What errors call the source, where it is no file."""
    own: tuple[type[Exception], ...] = ()
    """Errors of ours that name no file: whoever asks knows it."""


def _kind(name: str) -> Callable[[Path], object]:
    """What the project itself writes."""

    return lambda root: _kinds().make(root, name, 1)


@cache
def _kinds() -> Kinds:
    """Their inputs are made once."""
    folder = Path(tempfile.mkdtemp(prefix="imgassets-fuzz-inputs-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Kinds(folder)


def _one(root: Path, kind: str) -> Path:
    return Kinds.place(None, root, kind)  # type: ignore[arg-type]


def _arrays(format_: str, root: Path) -> None:
    making.make(root, making.arrays(11, (3, 8, 8)), format_, images_per_file=4, threads=1)


def _files(format_: str, root: Path) -> None:
    making.folder(root / "raw", per_class=2)
    making.make(root, class_folder(root / "raw"), format_, images_per_file=6, threads=1)


def _store(format_: str, root: Path) -> None:
    _read_store(root / "store" / "a" / f"{format_}_store")


def _read_store(path: Path) -> None:
    store = open_store(path)
    rows = len(store)
    some = [*range(min(rows, ROWS)), *range(max(0, rows - 1), rows)]
    for row in some:
        store[row]
    if isinstance(store, Store):
        _ = [store.name(row) for row in some], store.classes, store.skipped, store.damaged, store.notes
        ragged = [field.name for field in store.fields if field.ragged]
        _ = [store.raw(row, name) for name in ragged for row in some]
        if not isinstance(store, RecordStore):
            _ = [store.place(row) for row in some]
    _ = store.block_rows(), store.image_bytes, store.class_to_idx
    if rows < 1 << 20:
        _ = store.labels
    store.batch(some)


def _npz(root: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (5, 3 * 16 * 16), np.uint8)
    content = {"data": images, "labels": np.arange(1, 6), "mean": images.mean(0)}
    root.mkdir()
    np.savez(root / "stored.npz", **content)
    np.savez_compressed(root / "packed.npz", **content)


def _read_npz(root: Path) -> None:
    for path in sorted(root.glob("*.npz")):
        imagenet_npz.told_rows(path, 16)
        batch = imagenet_npz.open_batch(path, resolution=16)
        _ = list(batch.blocks()), batch.labels(), batch.mean()
        batch.inspect()
        if batch.stored:
            batch.take([0, 4])
            batch.images.sum()
        file = npz.open_npz(path)
        [file.npy(name) for name in file.entries]


def _pictures(root: Path) -> None:
    image = making.picture(1, 20, 31)
    for name, data in {
        "a.jpg": making.encoded(image, quality=90),
        "p.jpg": making.encoded(image, quality=80, progressive=True),
        "c.jpg": making.encoded(making.picture(2, 18, 22, "CMYK")),
        "r.jpg": making.encoded(image, restart_marker_blocks=1),
        "a.png": making.encoded(image, "PNG"),
        "i.png": making.encoded(image.convert("P"), "PNG"),
        "a.gif": making.encoded(image, "GIF"),
        "a.bmp": making.encoded(image, "BMP"),
    }.items():
        making.write(root / name, data)


def _read_pictures(root: Path) -> None:
    (path,) = root.iterdir()
    data = path.read_bytes()
    judge.read_header(data)
    header = judge.inspect(data)
    assert judge.inspect(data, walk=False) == header
    pixels.examine(data)
    pixels.decode(data)
    pixels.as_jpeg(data)


def _read_crops(root: Path) -> None:
    (path,) = root.iterdir()
    data, out = path.read_bytes(), np.empty((16, 16, 3), np.uint8)
    for crop in (Resize(16), RandomResizedCrop(16, (0.01, 1)), RandomResizedCrop(16, exact=True)):
        fit(data, "RGB", crop, draws(0, 0, np.array([len(data)]), crop.blocks)[0].tolist(), out)


def _label_images(root: Path) -> None:
    label = np.random.default_rng(0).integers(0, 200, (9, 7), np.uint8)
    making.write(root / "a.png", making.encoded(Image.fromarray(label), "PNG"))
    np.save(root / "b.npy", label.astype(np.int32))


def _read_label_images(root: Path) -> None:
    (path,) = root.iterdir()
    pixels.inspect_label(path.read_bytes())
    pixels.decode_label(path.read_bytes())


def _tars(root: Path) -> None:
    root.mkdir()
    inner = io.BytesIO()
    with tarfile.open(fileobj=inner, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name in ("n01440764_1.JPEG", "n01440764_größe.JPEG"):
            _add(archive, name, making.encoded(making.picture(3, 12, 12)))
    with tarfile.open(root / "a.tar", "w") as archive:
        _add(archive, "n01440764.tar", inner.getvalue())


def _add(archive: tarfile.TarFile, name: str, data: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(data)
    archive.addfile(member, io.BytesIO(data))


def _read_tars(root: Path) -> None:
    with Tape(root / "a.tar") as tape:
        for member in walk(tape.read, 0, tape.size, "a.tar"):
            tape.read(member.offset, member.size)
        scan(tape, ilsvrc.train_groups(tape), workers=1)


def _read_records(root: Path) -> None:
    path = _one(root, "tfrecords")
    TFRecordFile(path).verify()
    records = open_split(path.parent, None)
    _ = list(records), records.labels, records.synsets, records.verify()
    _read_store(path)
    _read_store(path.parent)


def _guide(suffix: str, root: Path) -> None:
    """A store as the guide's own code writes it."""
    import h5py
    import pyarrow.parquet as pq

    images = np.random.default_rng(0).integers(0, 256, (5, 4, 6, 3), np.uint8)
    labels = np.arange(5)
    files = [making.encoded(making.picture(k, 8, 9), "PNG") for k in range(5)]
    for folder in ("images", "labels", "metadata"):
        (root / folder).mkdir(parents=True)
    places = root / "images" / f"images_0.{suffix}", root / "labels" / f"labels_0.{suffix}"
    fixed = suffix in ("npy", "h5")
    if suffix == "npy":
        places[0].write_bytes(images.tobytes())
        places[1].write_bytes(labels.tobytes())
    elif suffix == "h5":
        for place, name, values in zip(places, ("images", "labels"), (images, labels), strict=True):
            with h5py.File(place, "w") as file:
                file[name] = values
    elif suffix == "tar":
        with tarfile.open(places[0], "w") as archive:
            [_add(archive, f"image_{k}", data) for k, data in enumerate(files)]
        places[1].with_suffix(".json").write_text(json.dumps(labels.tolist()))
    else:
        pq.write_table(pa.table({str(k): [data] for k, data in enumerate(files)}), places[0])
        pq.write_table(pa.table({str(k): [int(k)] for k in labels}), places[1])
    said = {"len": 5, "num_images_per_array": 5, **({"shape": [4, 6], "mode": "RGB"} if fixed else {})}
    (root / "metadata" / "metadata.json").write_text(json.dumps(said))
    (root / "metadata" / "class_to_integer_mapping.json").write_text(json.dumps({"a": 0, "b": 1}))


def _volumes(root: Path) -> None:
    import gzip

    voxels = chest((5, 6, 7))
    making.write(root / "a.nii", nifti_bytes(voxels))
    making.write(root / "a.nii.gz", gzip.compress(nifti_bytes(voxels)))
    np.savez_compressed(root / "a.npz", image=voxels, spacing=np.ones(3), RescaleSlope=1.0, RescaleIntercept=0.0)


def _read_volumes(root: Path) -> None:
    (path,) = root.iterdir()
    (read_npz if path.suffix == ".npz" else read_nifti)(path)


def _ct_split(root: Path) -> None:
    root.mkdir()
    ct_making.write_split(root)


def _read_ct_split(root: Path) -> None:
    for path in sorted(root.glob("*.tar")):
        for record in ct_shard.records_of(path):
            ct_split.map_volume(path, record)
            ct_split.read_text(path, record)
    split = ct_split.CtSplit(root)
    for row in range(min(len(split), ROWS)):
        split[row]
        split.document(row)
    _ = split.study_ids, split.class_names, split.urls
    _read_store(root)


def _tables(root: Path) -> None:
    root.mkdir()
    names = [f"train_{k}_a_1.nii.gz" for k in range(3)]
    heads = {
        "metadata": ("RescaleSlope", "RescaleIntercept", "XYSpacing", "ZSpacing"),
        "labels": CLASSES,
        "reports": ("Findings_EN", "Impressions_EN"),
    }
    rows = {"metadata": ("1", "-1024", '"[0.7, 0.7]"', "1.5"), "labels": ("0",) * len(CLASSES)}
    rows["reports"] = ('"A ""report"", of lines\nand more."', "None.")
    for name, head in heads.items():
        lines = [",".join(("VolumeName", *head)), *(",".join((volume, *rows[name])) for volume in names)]
        (root / f"{name}.csv").write_text("\n".join(lines) + "\n")


def _read_tables(root: Path) -> None:
    tables = {name: read_table(root / f"{name}.csv", f"{name}.csv", NEEDED[name]) for name in NEEDED}
    files = [RemoteFile(f"dataset/train_fixed/train_{k}_a_1.nii.gz", 10, "0" * 64) for k in range(3)]
    for spacing in (False, True):
        join(files, tables["metadata"], tables["labels"], tables["reports"], 2, spacing=spacing)


def _hub(root: Path) -> None:
    lfs = {"oid": "0" * 64, "size": 10, "pointerSize": 130}
    file = {"type": "file", "oid": "1" * 40, "size": 10}
    tree = [{**file, "path": "a/b.csv"}, {**file, "path": "a/c.nii.gz", "lfs": lfs}]
    tree.append({"type": "directory", "oid": "2" * 40, "size": 0, "path": "a/d"})
    making.write(root / "tree.json", json.dumps(tree).encode())
    said = {"id": "some/data", "sha": "3" * 40, "lastModified": "2024-01-01T00:00:00.000Z", "private": False}
    making.write(root / "revision.json", json.dumps(said | {"tags": ["a"], "siblings": []}).encode())


def _read_hub(root: Path) -> None:
    """A hub that answers with these files."""
    import httpx
    from huggingface_hub import close_session, set_client_factory

    def answer(request: httpx.Request) -> httpx.Response:
        name = "tree.json" if "/tree/" in request.url.path else "revision.json"
        return httpx.Response(200, content=(root / name).read_bytes(), headers={"content-type": "application/json"})

    set_client_factory(lambda: httpx.Client(transport=httpx.MockTransport(answer)))
    try:
        hub = Hub("some/data", tries=1)
        hub.pin()
        files = list(hub.list("main", "a"))
        tables = [Table(name, ("VolumeName", *CLASSES), {}, frozenset(), frozenset()) for name in NEEDED]
        join(files, tables[0], tables[1], tables[2], 2, spacing=True)
    finally:
        set_client_factory(httpx.Client)
        close_session()


def _webdataset(root: Path) -> None:
    root.mkdir()
    voxels = chest((3, 4, 5))
    packed = io.BytesIO()
    np.savez_compressed(packed, image=voxels, spacing=np.ones(3), labels=np.zeros(18, np.int64), findings="none")
    said = {"shape": [3, 4, 5], "dtype": "int16", "spacing": [1, 1, 1], "labels": [0] * 18, "findings": "none"}
    with tarfile.open(root / "a.tar", "w") as archive:
        _add(archive, "a.npz", packed.getvalue())
        _add(archive, "b.bin", voxels.tobytes())
        _add(archive, "b.json", json.dumps(said).encode())
        _add(archive, "c.nii", nifti_bytes(voxels))
        _add(archive, "c.cls", np.zeros(18, "<f4").tobytes())
        _add(archive, "c.txt", b"a report")
        _add(archive, "c.json", json.dumps({"RescaleSlope": 1, "RescaleIntercept": 0}).encode())


def _read_webdataset(root: Path) -> None:
    archives = Archives(str(root / "*.tar"))
    archives.pin()
    for volume in archives.listing(2).volumes:
        if volume.file is not None and volume.skip is None:
            archives.fetch(volume.file, "", root.parent / f"{root.name}-fetched")


def _labels(root: Path) -> None:
    root.mkdir()
    table = imagenet_classes()
    (root / ilsvrc.SYNSET_LABELS).write_text("\n".join(table.synsets[k] for k in (0, 5, 999)) + "\n")
    (root / ilsvrc.GROUND_TRUTH).write_text("\n".join(str(n) for n in (1, 7, 1000)) + "\n")


def _read_labels(root: Path) -> None:
    for path in ilsvrc.label_files(root):
        (ilsvrc._synsets if path.name == ilsvrc.SYNSET_LABELS else ilsvrc._devkit_ids)(path)


def _yaml(root: Path) -> None:
    text = (Path(refuse_mistakes.__code__.co_filename).parents[1] / "defs" / "ct_rate" / "defs.yaml").read_text()
    making.write(root / "a" / "defs.yaml", text.encode())


def _checkpoints(root: Path) -> None:
    import torch
    from safetensors.torch import save_file

    root.mkdir()
    state = {"a.weight": torch.ones(3, 2), "b": torch.zeros(2, dtype=torch.float64)}
    save_file(state, root / "a.safetensors")
    torch.save(state, root / "a.pth")
    (root / "network.json").write_text(json.dumps(NetworkConfig().as_dict()))


def _read_checkpoints(root: Path) -> None:
    (path,) = root.iterdir()
    if path.suffix == ".json":
        NetworkConfig.load(path)
    else:
        [float(tensor.double().sum()) for _, _, tensor in flat(read_state(path))]


def _read_vault(root: Path) -> None:
    vault = Vault(root / "store", root / "state")
    location = vault.location("arrays", "one", folder=True)
    manifests.load(location.manifest)
    vault.manifest(location)
    vault.verify(location)
    owner_of(location)
    home_id(root / "state")


def _project(root: Path) -> None:
    text = '[project]\nname = "a"\n[tool.imgassets]\nid = "0123"\n[tool.dg.project]\nroot_module = "a"\n'
    making.write(root / "pyproject.toml", text.encode())
    making.write(root / ".imgassets" / "links.json", json.dumps({"links": {"a/b": "/x", "c": "/y"}}).encode())
    (root / "dagster_home").mkdir()


def _read_project(root: Path) -> None:
    Project.of(root)
    Links(root)


def _read_index(root: Path) -> None:
    reader = IndexReader(_one(root, "index"))
    _ = reader.schema, reader.report, reader.table()
    reader.column_checksums(["number"])


def _read_csv(root: Path) -> None:
    sample = systemds_read.open_sample(_one(root, "csv"))
    _ = list(sample.pixels()), list(sample.columns()), sample.global_index
    systemds_read.check_sample(_one(root, "csv"))


def _read_binary(root: Path) -> None:
    for path in _one(root, "binary").rglob("*.bin"):
        list(systemds_binary.read_blocks(path))


def _read_arrays(root: Path) -> None:
    arrays = Arrays(_one(root, "arrays"))
    _ = arrays.labels.sum(), arrays.images.sum(), len(arrays)
    with ImageRows([arrays]) as rows:
        rows.take(np.arange(min(3, len(rows))), np.empty((3, rows.width), np.uint8)[: len(rows)])


def _read_activations(kind: str, root: Path) -> None:
    folder = _one(root, kind)
    reader = activation_npz.ActivationReader(folder)
    for number in range(len(reader.batches)):
        reader.read(number)
    if (folder / activation_npz.FEATURES).exists():
        reader.features()
        reader.moments()
    for path in sorted(folder.rglob("*.tar")):
        [image.sum() for _, image in png_tar.read_pngs(path)]


ONE_FILE = (BadImage,)
BOUNDED = "images, kernels bounded"
"""The same in a process whose compiled kernels look at every index."""
STORE = "store/**/*"
"""What lies in the vault, not in a home."""
READERS: dict[str, Reader] = {
    "npz": Reader(_npz, _read_npz),
    "images": Reader(_pictures, _read_pictures, own=ONE_FILE),
    BOUNDED: Reader(_pictures, _read_pictures, own=ONE_FILE),
    "crops of images": Reader(_pictures, _read_crops, own=ONE_FILE),
    "label images": Reader(_label_images, _read_label_images, own=ONE_FILE),
    "tars in tars": Reader(_tars, _read_tars),
    "tfrecords": Reader(_kind("tfrecords"), _read_records, STORE),
    **{f"store {name}": Reader(partial(_arrays, name), partial(_store, name), STORE) for name in BUNDLED},
    **{f"store {name} of files": Reader(partial(_files, name), partial(_store, name), STORE) for name in BUNDLED},
    **{f"guide {name}": Reader(partial(_guide, name), _read_store) for name in ("npy", "h5", "tar", "parquet")},
    "volumes": Reader(_volumes, _read_volumes),
    "ct shards": Reader(_ct_split, _read_ct_split),
    "ct tables": Reader(_tables, _read_tables),
    "hub": Reader(_hub, _read_hub, names=("some/data", "The hub")),
    "ct archives": Reader(_webdataset, _read_webdataset),
    "label files": Reader(_labels, _read_labels),
    "yaml": Reader(_yaml, refuse_mistakes),
    "checkpoints": Reader(_checkpoints, _read_checkpoints),
    "vault": Reader(_kind("arrays"), _read_vault),
    "project": Reader(_project, _read_project),
    "index": Reader(_kind("index"), _read_index, STORE),
    "csv": Reader(_kind("csv"), _read_csv, STORE),
    "binary": Reader(_kind("binary"), _read_binary, STORE),
    "arrays": Reader(_kind("arrays"), _read_arrays, STORE),
    "activations": Reader(_kind("activations"), partial(_read_activations, "activations"), STORE),
    "reconstructions": Reader(_kind("reconstructions"), partial(_read_activations, "reconstructions"), STORE),
}
SINGLE = {"images", "crops of images", BOUNDED, "label images", "volumes", "checkpoints"}
"""Readers that are given one file of the folder at a time."""
