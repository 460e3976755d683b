"""Finding and loading the weights of the network: `.pth`, `.bin`, `.safetensors` or an accelerate folder of them.

Nothing in a checkpoint is ever executed: tensors only, read from the file as they are needed.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Iterable, Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from imgassets.errors import BadInput
from imgassets.extras import extra

if TYPE_CHECKING:
    from torch import Tensor

    from imgassets.models.config import NetworkConfig
    from imgassets.models.edm import Denoiser

SUFFIXES = (".pth", ".pt", ".bin", ".safetensors")
IN_FOLDER = ("model.safetensors", "pytorch_model.bin")
"""The generator's weights in a folder saved by accelerate; `pytorch_model_1.bin` is another network, the guidance."""
PREFIXES = ("module.", "feedforward_model.")
"""Wrappers' prefixes that training scripts leave on every key."""
FILTER = ".resample_filter"


def find_checkpoint(pattern: str | Path, root: Path | None = None) -> Path:
    """The one file that `pattern` (a file, a folder of accelerate, or a glob of either, relative to `root`) names.

    Raises:
        BadInput: nothing matches, several things do (they are listed), or it is of a kind that is not read.
    """
    full = str((root or Path()) / pattern)
    matches = sorted(glob(full)) if has_magic(full) else [full] * Path(full).exists()
    if not matches:
        raise BadInput(f"{full}: no checkpoint there; put the network's weights ({', '.join(SUFFIXES)}) in that place")
    if len(matches) > 1:
        names = ", ".join(Path(m).name for m in matches[:8]) + (", …" if len(matches) > 8 else "")
        raise BadInput(f"{full}: {len(matches)} checkpoints match ({names}); name one of them")
    path = Path(matches[0])
    if path.is_dir():
        inside = [path / name for name in IN_FOLDER if (path / name).is_file()]
        if not inside:
            raise BadInput(f"{path}: this folder has neither {' nor '.join(IN_FOLDER)}")
        path = inside[0]
    if path.suffix == ".pkl":
        raise BadInput(
            f"{path}: a pickle of the original EDM release runs code when it is opened, so it is refused; convert it "
            "once in its own environment with torch.save(network.state_dict(), 'checkpoint.pth')"
        )
    if path.suffix not in SUFFIXES:
        raise BadInput(f"{path}: a checkpoint ends in {', '.join(SUFFIXES)}")
    return path


def read_state(path: Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, mapped from the file.

    Raises:
        BadInput: the file is empty, cut off, no checkpoint, holds anything but tensors, or would execute code.
    """
    if not path.stat().st_size:
        raise BadInput(f"{path}: the file is empty; a checkpoint was expected")
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):
        state = state["state_dict"]
    import torch

    if not isinstance(state, Mapping) or not state:
        raise BadInput(f"{path}: a state dict (names and tensors) was expected, found {type(state).__name__}")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise BadInput(f"{path}: {name!r} is a {type(value).__name__}, no tensor; save network.state_dict() alone")
    return {_bare(name): value for name, value in state.items()}


def load_network(path: Path, config: NetworkConfig) -> Denoiser:
    """The network with the weights of `path`, in evaluation mode on the CPU, float32.

    Raises:
        BadInput: as `read_state`; or a key is missing, unexpected or of another shape (the first are named), or a
            weight is not finite.
    """
    import torch

    from imgassets.models.edm import Denoiser

    state = read_state(path)
    with torch.device("meta"):
        network = Denoiser(config)
    wanted = network.state_dict()
    fit_keys(path, {k: tuple(v.shape) for k, v in state.items()}, {k: tuple(v.shape) for k, v in wanted.items()})
    weights = {}
    for name in wanted:
        tensor = state.get(name, torch.full((1, 1, 2, 2), 0.25)).to(torch.float32)
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{path}: {name} holds values that are not finite; the checkpoint is damaged")
        if name.endswith(FILTER) and not torch.equal(tensor, torch.full((1, 1, 2, 2), 0.25)):
            raise BadInput(f"{path}: {name} is not the 2x2 mean that this network resamples with")
        weights[name] = tensor
    network.load_state_dict(weights, assign=True)
    return network.eval().requires_grad_(False)


def fit_keys(path: Path, found: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]) -> None:
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


def _some(names: Iterable[str]) -> str:
    names = list(names)
    return ", ".join(names[:2]) + (", …" if len(names) > 2 else "")


def _bare(name: str) -> str:
    for prefix in PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    load_file = extra("safetensors.torch").load_file
    from safetensors import SafetensorError

    try:
        state: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        raise BadInput(f"{path}: not a readable safetensors file ({error})") from error
    return state


def _read_torch(path: Path) -> object:
    import torch

    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            bare = file.read(1) == b"\x80"
        if bare:
            raise BadInput(
                f"{path}: a bare pickle can run code when it is opened, so it is refused; save network.state_dict() "
                "with torch.save of PyTorch 1.6 or later"
            )
        raise BadInput(f"{path}: not a checkpoint; a file saved by torch.save was expected")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the unpickler raises whatever the bytes make it raise
        if blocked := re.search(r"GLOBAL (\S+)", str(error)):
            raise BadInput(
                f"{path}: opening it would call {blocked[1]}, so it is refused; save network.state_dict() alone"
            ) from error
        reason = f"{type(error).__name__}: {str(error)[:160]}"
        raise BadInput(f"{path}: not a checkpoint of tensors alone, or cut off ({reason})") from error
