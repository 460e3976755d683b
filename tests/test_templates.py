"""YAML runs no code: templates are parsed before anything of a file is evaluated, and few are let through."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import dagster as dg
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jinja2 import nativetypes

import imgassets
from imgassets import templates
from imgassets.components.declarations import declared_in, refuse_mistakes
from imgassets.errors import BadInput

CODE = "{{ cycler.__init__.__globals__.os.system('touch RAN') }}"
HEAD = "type: imgassets.components.ImageFolder\nattributes:\n  name: a\n"

FINE = [
    *("plain", "", "{", "}}", "a {b}", "%}", "100 %", "{ {", "$HOME"),
    "{{ env('PETS') }}",
    "{{ env('PETS', 'pets') }}",
    "{{ env('PETS', '') or 'pets' }}",
    '{{ env("A") or env("B") or "c" }}',
    "{{ 'text' }}",
    "root/{{ env('A') }}/{{- env('B') -}}",
    "\n{{ env('A')\n   or 'b' }}\n",
]
WRONG = [
    CODE,
    "{{ env }}",
    "{{ env.HOME }}",
    "{{ env['HOME'] }}",
    "{{ env() }}",
    "{{ env('A', 'b', 'c') }}",
    "{{ env('A', default='b') }}",
    "{{ env(*['A']) }}",
    "{{ env(**{'key': 'A'}) }}",
    "{{ env('A').upper() }}",
    "{{ env(env('A')) }}",
    "{{ env('A' ~ 'B') }}",
    "{{ env('A' or 'B') }}",
    "{{ env('A') and 'b' }}",
    "{{ not env('A') }}",
    "{{ env('A') if 1 else 'b' }}",
    "{{ env('A') | upper }}",
    "{{ env('A') | attr('__class__') }}",
    "{{ env('A') is defined }}",
    "{{ env('A') == 'b' }}",
    "{{ 'a' + 'b' }}",
    "{{ 'a' % 'b' }}",
    "{{ 'a'[0] }}",
    "{{ 'a'.join('b') }}",
    "{{ 1 }}",
    "{{ none }}",
    "{{ ('a', 'b') }}",
    "{{ ['a'] }}",
    "{{ {'a': 'b'} }}",
    "{{ environ('A') }}",
    "{{ '{{ 1 }}' }}",
    "{{ '{' }}{ 1 }}",
    "{{ env('A', '{{ 1 }}') }}",
    "{{ env(1) }}",
    "{{ context.load_component('a') }}",
    "{{",
    "{{ }}",
    "{{ env('A') ",
    "{{ " + "(" * 5000 + "'a'" + ")" * 5000 + " }}",
    "{% if true %}a{% endif %}",
    "{% raw %}a{% endraw %}",
    "{% set env = 'a'.format %}{{ env('b') }}",
    "{%- include 'a' %}",
    "{% import 'os' as os %}",
    "a {# comment #}",
    "{# {{ env('A') }}",
]


@pytest.mark.parametrize("text", FINE)
def test_what_a_template_may_say(text: str) -> None:
    assert templates.problem(text) == ""


@pytest.mark.parametrize("text", WRONG, ids=range(len(WRONG)))
def test_what_it_may_not(text: str) -> None:
    assert templates.problem(text)


PIECES = st.sampled_from(
    ["{", "{{", "}}", "{%", "%}", "'", "a", " ", "env", "(", ")", "or", ".", "run", "|", "\n", ","]
)


@given(st.lists(PIECES, max_size=12).map("".join))
def test_whatever_passes_asks_for_nothing_but_env(text: str) -> None:
    """What is let through is rendered as Dagster does, with a scope that tells of any other use."""
    if templates.problem(text):
        return
    nativetypes.NativeTemplate(text).render(
        env=lambda *names: all(isinstance(name, str) for name in names), run=Never()
    )


class Never:
    """A variable that must not be touched."""

    def __call__(self, *_: object) -> str:
        raise AssertionError

    __getitem__ = __str__ = __getattr__ = __call__


PLACES: dict[str, Callable[[str], str]] = {
    "value": lambda code: f'{HEAD}  root: "{code}"\n',
    "key": lambda code: f'{HEAD}  splits: {{"{code}": x}}\n',
    "list": lambda code: f'{HEAD}  stores: [memmap, "{code}"]\n',
    "anchor": lambda code: f'{HEAD}  root: &a "{code}"\n  labels: *a\n',
    "merge": lambda code: f'{HEAD}  <<: {{root: "{code}"}}\n',
    "block": lambda code: f"{HEAD}  root: |\n    some\n    {code}\n",
    "folded": lambda code: f"{HEAD}  root: >-\n    {code[:3]}\n    {code[3:]}\n",
    "plain": lambda code: f"{HEAD}  root: a{code}\n",
    "escaped": lambda code: f'{HEAD}  root: "{code.replace("{", chr(92) + "x7b")}"\n',
    "tagged": lambda code: f'{HEAD}  root: !!str "{code}"\n',
    "second document": lambda code: f'{HEAD}---\n{HEAD}  root: "{code}"\n',
    "type": lambda code: f'type: "{code}"\n',
    "requirements": lambda code: f'{HEAD}requirements:\n  env: ["{code}"]\n',
    "post_processing": lambda code: f'{HEAD}post_processing:\n  assets:\n    - attributes: {{group: "{code}"}}\n',
}


@pytest.mark.parametrize("place", PLACES)
def test_wherever_it_stands(tmp_path: Path, place: str) -> None:
    path = tmp_path / "defs.yaml"
    path.write_text(PLACES[place](CODE))
    with pytest.raises(BadInput, match=r"defs\.yaml:\d+: .*is code: a template here says env\('NAME'\)"):
        refuse_mistakes(tmp_path)


@pytest.mark.parametrize("value", ["!!binary e3sgMSB9fQ==", "!!set {a}", "!!omap [a: b]", "!!python/name:os.system ''"])
def test_bytes_and_other_types_that_would_become_text_unseen(tmp_path: Path, value: str) -> None:
    (tmp_path / "defs.yaml").write_text(f"{HEAD}  root: {value}\n")
    with pytest.raises(BadInput, match=r"defs\.yaml:4: .* is no type of values here"):
        refuse_mistakes(tmp_path)


@pytest.mark.parametrize("name", ["defs.yaml", "defs.yml", "component.yaml", "Defs.YAML"])
@pytest.mark.parametrize("linked", [False, True])
def test_whatever_file_dagster_loads(tmp_path: Path, name: str, linked: bool) -> None:
    place = tmp_path / "elsewhere" / "deep" / "er"
    place.mkdir(parents=True)
    (place / name).write_text(f'{HEAD}  root: "{CODE}"\n')
    (tmp_path / "defs").mkdir()
    if linked:
        (tmp_path / "defs" / "some").symlink_to(place.parent)
    else:
        place.parent.rename(tmp_path / "defs" / "some")
    (tmp_path / "defs" / "round").symlink_to(tmp_path / "defs")
    with pytest.raises(BadInput, match=f"{name}:4"):
        refuse_mistakes(tmp_path / "defs")


LAUGHS = "".join(f"  a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 60))


@pytest.mark.parametrize(
    "endless",
    [
        "  round: &r [*r]\n",
        "  round: &r {a: {b: *r}}\n",
        f"  a0: &a0 text\n{LAUGHS}",
        "  a0: &a0 {a: b}\n" + "".join(f"  a{n}: &a{n} {{a: *a{n - 1}, b: *a{n - 1}}}\n" for n in range(1, 99)),
    ],
)
def test_anchors_that_lead_round_or_far(tmp_path: Path, endless: str) -> None:
    """Dagster writes them out: seven lines kept it busy for minutes."""
    (tmp_path / "defs.yaml").write_text(f"{HEAD}{endless}")
    with pytest.raises(BadInput, match=r"defs\.yaml:\d+: anchors lead to themselves, or to more than 10000 values"):
        refuse_mistakes(tmp_path)


def test_anchors_as_people_write_them(tmp_path: Path) -> None:
    many = "".join(f"  b{n}: {{<<: *a, x: *l}}\n" for n in range(500))
    (tmp_path / "defs.yaml").write_text(f"{HEAD}  a: &a {{b: c}}\n  l: &l [1, 2, 3]\n{many}")
    refuse_mistakes(tmp_path)


def test_brackets_that_no_reader_follows(tmp_path: Path) -> None:
    (tmp_path / "defs.yaml").write_text(HEAD + "  deep: " + "[" * 100_000)
    with pytest.raises(BadInput, match="without deep nesting"):
        refuse_mistakes(tmp_path)


@pytest.mark.parametrize("name", ["defs.yaml", "defs.yml", "component.yaml"])
def test_nothing_runs_when_a_project_is_loaded(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    package = f"loads_{name.replace('.', '_')}"
    folder = tmp_path / package / "defs" / "some"
    folder.mkdir(parents=True)
    (tmp_path / "dagster_home").mkdir()
    for place in (tmp_path / package, tmp_path / package / "defs"):
        (place / "__init__.py").touch()
    settings = f'[tool.imgassets]\nid = "x"\n[tool.dg.project]\nroot_module = "{package}"\n'
    (tmp_path / "pyproject.toml").write_text(settings)
    (folder / name).write_text(f'{HEAD}  root: "{CODE}"\n')
    with pytest.raises(BadInput, match="is code"):
        imgassets.project(tmp_path)
    assert not (tmp_path / "RAN").exists()
    (folder / name).write_text(f"{HEAD}  root: \"{{{{ env('NO_SUCH', '') or 'pets' }}}}\"\n  stores: [memmap]\n")
    keys = imgassets.project(tmp_path).resolve_asset_graph().get_all_asset_keys()
    assert dg.AssetKey(["a", "memmap_store"]) in keys


def test_the_bundled_ones_are_looked_at() -> None:
    folder = Path(next(iter(imgassets.__path__))) / "defs"
    assert len(list(declared_in(folder))) >= 6
    refuse_mistakes(folder)
