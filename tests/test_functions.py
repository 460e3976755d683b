"""Functions by name, and the files that have them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from imgassets.errors import BadInput
from imgassets.functions import code_of, function_named, module_file, refuse_changed


def test_a_function() -> None:
    assert function_named("os.path:join", "how")("a", "b") == "a/b"


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("os.path", "how='os.path': AttributeError"),
        ("nowhere:f", "ModuleNotFoundError"),
        (":f", "ValueError"),
        ("os:sep", "is a str, no function"),
    ],
)
def test_no_function(name: str, told: str) -> None:
    with pytest.raises(BadInput, match=told):
        function_named(name, "how")


def test_the_file_of_a_module_is_found_without_importing_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    inner = tmp_path / "outer_of_mine" / "inner.py"
    inner.parent.mkdir()
    for path in (inner, inner.with_name("__init__.py")):
        path.write_text("raise RuntimeError")
    monkeypatch.syspath_prepend(str(tmp_path))
    assert module_file("outer_of_mine.inner") == inner
    assert module_file("outer_of_mine") == inner.with_name("__init__.py")
    assert not {name for name in sys.modules if name.startswith("outer_of_mine")}
    assert (module_file("outer_of_mine.none"), module_file("none_of_mine.inner"), module_file("sys")) == (None,) * 3
    with pytest.raises(BadInput, match="RuntimeError"):
        function_named("outer_of_mine.inner:f", "how")


def test_a_module_that_changes_meanwhile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "changing_module_of_mine.py"
    file.write_text("a = 1")
    monkeypatch.syspath_prepend(str(tmp_path))
    before = code_of(file.stem)
    refuse_changed(file.stem)
    file.write_text("a = 2")
    assert code_of(file.stem) == before
    with pytest.raises(BadInput, match=r"changing_module_of_mine\.py was changed .*: start it again"):
        refuse_changed(file.stem)
    assert code_of("sys") == ""
