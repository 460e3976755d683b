"""Mistakes in a YAML file that Dagster passes over: each is one sentence with its place."""

from __future__ import annotations

import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
from jsonschema import Draft202012Validator

from imgassets.components import CtVolumes, IlsvrcTars, ImageFolder, NpzImages
from imgassets.components.assets import dataset_asset
from imgassets.components.declarations import refuse_mistakes
from imgassets.components.store_assets import StoreSettings
from imgassets.errors import BadInput
from imgassets.stores.registry import codec_names

SOUND = "type: imgassets.components.ImageFolder\nattributes:\n  name: a\n  settings: {on_error: skip}\n"


def look(folder: Path, text: str, encoding: str = "utf-8") -> None:
    (folder / "some").mkdir()
    (folder / "some" / "defs.yaml").write_text(text, encoding=encoding)
    refuse_mistakes(folder)


def test_sound_files(tmp_path: Path) -> None:
    look(tmp_path, f"# größe\n{SOUND}---\n{SOUND.replace('name: a', 'name: b')}")
    look(tmp_path / "some", "type: somebodys.own.Component\n")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (f"{SOUND}  name: b\n", r"defs\.yaml:5: name is given twice, first in line 3"),
        (SOUND.replace("skip}", "skip, on_error: fail}"), r"defs\.yaml:4: on_error is given twice"),
        (f"{SOUND}  stores:\n  - a: 1\n    a: 2\n", r"defs\.yaml:7: a is given twice"),
        (
            SOUND.replace("Folder", "Foldr"),
            r"defs\.yaml:1: there is no imgassets\.components\.ImageFoldr: .*, NpzImages",
        ),
        ("", r"defs\.yaml:1: the file is empty"),
        ("# nothing yet\n", r"defs\.yaml:1: the file is empty"),
        ("\n- a\n", r"defs\.yaml:2: expected `type` and `attributes`"),
        ("name: a\0b", r"defs\.yaml is no YAML in UTF-8: .*#x0000"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        look(tmp_path, text)


def test_another_encoding(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"defs\.yaml is no YAML in UTF-8"):
        look(tmp_path, "name: größe", "latin-1")


def test_no_yaml(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"some/defs\.yaml:5: this is no YAML: "):
        look(tmp_path, SOUND.replace("}", ""))


@pytest.mark.parametrize(
    ("component", "attributes", "told"),
    [
        (NpzImages, {"seed": "abc"}, "seed is 'abc': .*integer"),
        (NpzImages, {"val": "maybe"}, "val is 'maybe': .*boolean"),
        (NpzImages, {"root": "/data"}, r"root is '/data': expected a folder below \$IMGASSETS_RAW"),
        (ImageFolder, {"upright": "perhaps"}, "upright is 'perhaps': .*boolean"),
        (ImageFolder, {"classes": "x"}, "classes is 'x': .*'folders' or 'imagenet'"),
        (ImageFolder, {"size": "big"}, "size is 'big': .*tuple"),
        (ImageFolder, {"labels": "../up"}, r"labels is '\.\./up': expected a folder below"),
        (ImageFolder, {"splits": {"train": "/x"}}, "train is '/x': expected a folder below"),
        (StoreSettings, {"images_per_file": "abc"}, "images_per_file is 'abc': .*integer"),
        (IlsvrcTars, {"verify_md5": "maybe"}, "verify_md5 is 'maybe': .*boolean"),
        (NpzImages, {"seed": -1}, "seed is -1: expected"),
        (CtVolumes, {"samples_per_shard": 0}, "samples_per_shard is 0: expected 1 or more"),
        (CtVolumes, {"samples_per_shard": "x"}, "samples_per_shard is 'x': .*integer"),
        (CtVolumes, {"splits": []}, r"splits is \[\]: expected at least one"),
        (CtVolumes, {"workers": 0}, "workers is 0"),
        (CtVolumes, {"shape": (480, 480, 0)}, "shape is .*voxels"),
        (CtVolumes, {"spacing": (0.75, 0.75, 0)}, "spacing is .*mm above 0"),
        (CtVolumes, {"hu_clip": (1000, -1000)}, "hu_clip is .*lowest"),
        (CtVolumes, {"divisor": float("nan")}, "divisor is nan"),
    ],
)
def test_values_of_another_type_or_of_no_meaning(component: Any, attributes: dict[str, Any], told: str) -> None:
    needed = {} if component is StoreSettings else {"name": "some"}
    needed |= {"repository": "owner/name"} if component is CtVolumes else {}
    with pytest.raises(BadInput, match=told):
        component(**needed, **attributes)


def test_numbers_given_as_text_are_numbers() -> None:
    assert CtVolumes("some", "owner/name", samples_per_shard="4").samples_per_shard == 4  # type: ignore[arg-type]


def test_a_split_that_no_folder_can_be_called() -> None:
    with pytest.raises(BadInput, match=re.escape("'a/b' cannot name a partition")):
        dataset_asset("some", "arrays", code_version="1", partitions_def=dg.StaticPartitionsDefinition(["good", "a/b"]))


@pytest.mark.parametrize("component", [IlsvrcTars, ImageFolder, NpzImages])
def test_the_schema_tells_a_wrong_format_and_those_there_are(component: Any) -> None:
    """It is all that `dg check yaml` looks at."""
    schema = Draft202012Validator(component.get_model_cls().model_json_schema()["properties"]["stores"])
    (error,) = schema.iter_errors(["memmap", "memap"])
    assert error.message == f"'memap' is not one of {list(codec_names())}"
    assert list(error.absolute_path) == [1]
    for sound in (list(codec_names()), [], "{{ env('STORES') }}"):
        assert schema.is_valid(sound)
    assert not schema.is_valid(3)


@pytest.mark.parametrize("component", [IlsvrcTars, ImageFolder, NpzImages])
def test_formats_that_nobody_names_are_always_the_same_five(component: Any) -> None:
    """Whatever this package, or another one, brings: else it would change everybody's graph."""
    (stores,) = (field for field in fields(component) if field.name == "stores")
    assert stores.default_factory() == ["memmap", "hdf5", "parquet", "ipc", "tar"]  # type: ignore[misc,operator]
