"""What a person is told of a dataset that does not load."""

from __future__ import annotations

import re

import dagster as dg
import pytest
from dagster.components.testing import create_defs_folder_sandbox

from imgassets.components import ImageFolder
from imgassets.errors import BadInput
from imgassets.operations import selection

SOUND = """\
type: imgassets.components.ImageFolder
attributes:
  name: caltech256
  stores: [memmap]
  size: [224, 224]
"""
# Dagster's own use of it
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince20")


def load(text: str, monkeypatch: pytest.MonkeyPatch) -> dg.Definitions:
    """The definitions where `defs/` holds one dataset."""
    with create_defs_folder_sandbox() as sandbox:
        path = sandbox.scaffold_component(component_cls=ImageFolder)
        (path / "defs.yaml").write_text(text)

        def defs() -> dg.Definitions:
            with sandbox.load_component_and_build_defs(defs_path=path) as (_, built):
                return built

        monkeypatch.setattr("imgassets.definitions.defs", defs)
        return selection.definitions.__wrapped__()


def test_a_sound_one_loads(monkeypatch: pytest.MonkeyPatch) -> None:
    keys = load(SOUND, monkeypatch).resolve_asset_graph().get_all_asset_keys()
    assert {key.to_user_string() for key in keys} == {"caltech256/memmap_store"}


@pytest.mark.parametrize(
    ("right", "wrong", "told"),
    [
        ("size:", "siez:", r"defs.yaml:5: attributes.siez: Extra inputs are not permitted"),
        ("[224, 224]", "[224]", r"defs.yaml:5: attributes.size.*: Field required"),
        ("[224, 224]", "[224, 224", r"defs.yaml:6: "),
        ("[memmap]", "[memap]", r"defs.yaml:4: .*Input should be 'memmap', .* or '\w+'$"),
        ("attributes:", "atributes:", r"defs.yaml:2: atributes: Extra inputs"),
        ("ImageFolder", "ImageFoldr", r"has no attribute `ImageFoldr`"),
        ("[224, 224]", "[224, 0]", r"defs.yaml: dataset caltech256: size is"),
        ("caltech256", "../up", r"defs.yaml: .*not a valid"),
    ],
)
def test_a_wrong_one_is_one_sentence_with_its_place(
    right: str, wrong: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(BadInput) as caught:
        load(SOUND.replace(right, wrong), monkeypatch)
    assert re.search(told, str(caught.value)), str(caught.value)
    assert "\n" not in str(caught.value)
