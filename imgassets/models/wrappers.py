"""Finding a network's weights among all tensors of a checkpoint, under whatever training scripts wrap around them.

Containers in containers and prefixes of names are one thing here: `state_dict` → `module.model.x` is the name
`state_dict.module.model.x`, and what stands before a set of names that all fit is its wrapper.
"""

from __future__ import annotations

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from imgassets.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

    Shapes = Mapping[str, tuple[int, ...]]

log = logging.getLogger(__name__)
TRANSPARENT = re.compile(r"\b(_orig_mod|_fsdp_wrapped_module|_checkpoint_wrapped_module)\.")
"""What torch.compile, FSDP and activation checkpointing put between the names of modules."""
DEEPEST = 16
"""Containers in containers that are followed."""
FILTER = ".resample_filter"
"""Ends the names of constants, which may be absent."""


def flat(state: Mapping[object, object], parent: str = "", depth: int = 0) -> Iterator[tuple[str, str, Tensor]]:
    """Name, container and value of every tensor in containers of any depth; what is no tensor is passed over."""
    import torch

    for key, value in state.items():
        name = f"{parent}{TRANSPARENT.sub('', str(key))}"
        if isinstance(value, torch.Tensor):
            yield name, parent, value
        elif isinstance(value, Mapping) and depth < DEEPEST:
            yield from flat(value, f"{name}.", depth + 1)


def unwrapped(path: Path, state: Mapping[object, object], wanted: Shapes, name: str = "") -> dict[str, Tensor]:
    """The tensors called as in `wanted` (name: shape), those called `name` where there are several such sets.

    Raises:
        BadInput: none fits (what misses in the best is named), several do, or a tensor has two names that are one.
    """
    found: dict[str, Tensor] = {}
    containers = {}
    for key, container, tensor in flat(state):
        if key in found:
            raise BadInput(f"{path}: it has two tensors called {key}; save network.state_dict() alone")
        found[key], containers[key] = tensor, container
    counts = Counter(key[: -len(suffix)] for key in found for suffix in _suffixes(key) if suffix in wanted)
    fitting = [prefix for prefix in counts if _fits(found, prefix, wanted)]
    prefix = _chosen(path, fitting, name) if fitting else next(iter(dict(counts.most_common(1))), "")
    homes = {containers[prefix + key] for key in wanted if prefix + key in found} or set(containers.values())
    others = tuple(other for other in fitting if other.startswith(prefix) and other != prefix)
    mine = {
        key[len(prefix) :]: tensor
        for key, tensor in found.items()
        if key.startswith(prefix) and containers[key] in homes and not (others and key.startswith(others))
    }
    fit(path, {key: tuple(tensor.shape) for key, tensor in mine.items()}, wanted)
    if prefix or others:
        log.info("%s: the weights called %s…", path, prefix or "as in the network")
    return mine


def fit(path: Path, found: Shapes, wanted: Shapes) -> None:
    """Raise `BadInput` unless names and shapes agree; only `resample_filter`, a constant, may be absent or extra."""
    missing = [k for k in wanted if k not in found and not k.endswith(FILTER)]
    extra = [k for k in found if k not in wanted and not k.endswith(FILTER)]
    shaped = [k for k in wanted if k in found and found[k] != wanted[k]]
    if not (missing or extra or shaped):
        return
    problems = []
    if missing:
        problems.append(f"{len(missing)} of {len(wanted)} keys missing ({_some(missing)})")
    if extra:
        problems.append(f"{len(extra)} unexpected ({_some(extra)})")
    if shaped:
        k = shaped[0]
        problems.append(f"{len(shaped)} of another shape ({k} is {list(found[k])}, wanted {list(wanted[k])})")
    raise BadInput(f"{path} does not fit the network: {'; '.join(problems)}; is network.json the right one?")


def _suffixes(name: str) -> Iterator[str]:
    """`a.b.c`, `b.c`, `c`."""
    yield name
    while name.partition(".")[1]:
        name = name.partition(".")[2]
        yield name


def _fits(found: Mapping[str, Tensor], prefix: str, wanted: Shapes) -> bool:
    here = {key: found.get(prefix + key) for key in wanted}
    return all(key.endswith(FILTER) if t is None else tuple(t.shape) == wanted[key] for key, t in here.items())


def _chosen(path: Path, prefixes: list[str], name: str) -> str:
    wrappers = {prefix.rstrip("."): prefix for prefix in prefixes}
    matching = [wrapper for wrapper in wrappers if not name or name == wrapper or name in wrapper.split(".")]
    if len(matching) == 1:
        return wrappers[matching[0]]
    listed = ", ".join(wrapper or "'' (no wrapper)" for wrapper in wrappers)
    what = f"none of them is called {name!r}" if name else "which is meant cannot be known"
    raise BadInput(
        f"{path}: {len(wrappers)} sets of weights fit the network ({listed}), and {what}: set weights to one"
    )


def _some(names: list[str]) -> str:
    return ", ".join(names[:2]) + (", …" if len(names) > 2 else "")
