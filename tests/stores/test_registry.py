"""Which codecs there are, and what is said of one that another package has and that cannot be used."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import dagster as dg
import pytest

from imgassets.environment import Storage
from imgassets.errors import BadInput
from imgassets.io.resources import resources_over
from imgassets.stores import codecs, registry
from imgassets.stores.registry import BUNDLED, DEFAULT, TAKEN, codec_names, codec_of
from imgassets.stores.storefile import split_of
from imgassets.stores.writing import StorePlan


class Point:
    """An entry point of a package that is not there."""

    def __init__(self, name: str, load: Callable[[], object], package: str = "my-lance") -> None:
        self.name, self.load, self.value = name, load, f"{package}:CODEC"
        self.dist = type("Dist", (), {"name": package, "version": "1.0"})()


def fail(error: BaseException) -> Callable[[], object]:
    def load() -> object:
        raise error

    return load


NEVER = fail(AssertionError("it was loaded"))


@pytest.fixture
def register(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    points: list[Point] = []
    monkeypatch.setattr(registry, "entry_points", lambda group: points if group == "imgassets.codecs" else [])

    def add(*more: Point) -> None:
        points.extend(more)
        codec_names.cache_clear()
        codec_of.cache_clear()

    add()
    yield add
    codec_names.cache_clear()
    codec_of.cache_clear()


def test_the_modules_with_a_codec_are_the_bundled_ones() -> None:
    folder = Path(next(iter(codecs.__path__)))
    assert {path.stem for path in folder.glob("*.py") if "\nCODEC = " in path.read_text()} == set(BUNDLED)
    assert all(codec.name == name for name, codec in BUNDLED.items())
    assert tuple(BUNDLED)[: len(DEFAULT)] == DEFAULT


def test_names_that_are_taken_are_those_of_other_io_managers() -> None:
    keys = {key.removesuffix("_io") for key in resources_over(Storage(raw="", store="", state="")) if "_io" in key}
    assert keys - set(codec_names()) == TAKEN


def test_one_of_another_package(register: Callable[..., None]) -> None:
    lance = replace(BUNDLED["memmap"], name="lance", version=3, reads=(2,))
    register(Point("lance", lambda: lance))
    assert codec_names() == (*BUNDLED, "lance")
    assert codec_of("lance") is codec_of("lance/3") is codec_of("lance/2") is lance
    with pytest.raises(BadInput, match="reads lance/3, lance/2, not lance/1: rebuild"):
        codec_of("lance/1")


def test_a_bundled_name_cannot_be_taken(register: Callable[..., None]) -> None:
    register(Point("memmap", NEVER))
    assert codec_names() == tuple(BUNDLED)
    assert codec_of("memmap") is BUNDLED["memmap"]


def test_two_packages_of_one_name_are_both_named(register: Callable[..., None]) -> None:
    register(Point("lance", NEVER, "other-lance"), Point("lance", NEVER, "one-lance"))
    assert codec_names() == (*BUNDLED, "lance")
    with pytest.raises(BadInput, match=r"^one-lance 1.0 and other-lance 1.0 both have a codec 'lance'"):
        codec_of("lance")


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (fail(ImportError("No module named 'lance'")), "The codec 'lance' of my-lance 1.0 cannot be loaded: Import"),
        (fail(SystemExit(3)), "The codec 'lance' of my-lance 1.0 cannot be loaded: SystemExit"),
        (lambda: None, "my-lance:CODEC of my-lance 1.0 is no Codec of the name 'lance'"),
        (lambda: BUNDLED["memmap"], "my-lance:CODEC of my-lance 1.0 is no Codec of the name 'lance'"),
    ],
)
def test_a_broken_one_is_told_when_it_is_asked_for(
    register: Callable[..., None], load: Callable[[], object], said: str
) -> None:
    register(Point("lance", load))
    assert codec_names() == (*BUNDLED, "lance")
    with pytest.raises(BadInput, match=said):
        codec_of("lance")


@pytest.mark.parametrize("name", ["My-Lance", "a.b", "", "größe", *sorted(TAKEN)])
def test_a_name_that_a_codec_cannot_have_breaks_nothing_else(register: Callable[..., None], name: str) -> None:
    wanted = {key: type(one) for key, one in resources_over(Storage(raw="", store="", state="")).items()}
    register(Point(name, NEVER))
    assert codec_names() == tuple(BUNDLED)
    found = resources_over(Storage(raw="", store="", state=""))
    assert {key: type(one) for key, one in found.items()} == wanted
    with pytest.raises(BadInput, match=f"The codec {name!r} of my-lance 1.0 needs another name"):
        codec_of(name)


def test_definitions_load_none_of_another_package(register: Callable[..., None]) -> None:
    register(Point("lance", NEVER))
    found = resources_over(Storage(raw="", store="", state=""))
    dg.Definitions.validate_loadable(dg.Definitions(resources=found))
    assert found["lance_io"].codec == "lance"


def test_an_unknown_one_says_what_there_is(register: Callable[..., None]) -> None:
    with pytest.raises(BadInput, match=r"no store format 'lance/3': choose one of memmap, .*, or install the package"):
        codec_of("lance/3")


@pytest.mark.parametrize(
    ("partition", "split"),
    [
        ("val", "val"),
        ("all", "train"),
        ("", "train"),
        ("fold-1.2", "fold_1_2"),
        ("größe", "größe"),
        ("a" * 190, "a" * 40),
    ],
)
def test_any_partition_has_a_split(partition: str, split: str) -> None:
    assert StorePlan("parquet", split=split_of(partition)).split == split
