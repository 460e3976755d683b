"""Finding and loading the weights of the network: `.pth`, `.bin`, `.safetensors` or an accelerate folder of them.

Nothing in a checkpoint is ever executed: tensors only, read from the file as they are needed.
"""

from __future__ import annotations

import re
import zipfile
from collections.abc import Mapping
from glob import glob, has_magic
from pathlib import Path
from typing import TYPE_CHECKING

from imgassets import documents
from imgassets.errors import BadInput
from imgassets.extras import extra
from imgassets.foreign import HEAD, foreign
from imgassets.models.wrappers import FILTER, flat, unwrapped

if TYPE_CHECKING:
    from torch import Tensor

    from imgassets.models.config import NetworkConfig
    from imgassets.models.edm import Denoiser

SUFFIXES = (".pth", ".pt", ".ckpt", ".bin", ".safetensors")
INDEX = ".index.json"
"""Ends the name of a file that says which part holds which tensor, as Hugging Face's libraries write them."""
IN_FOLDER = tuple(
    f"{name}{suffix}"
    for name in ("model.safetensors", "diffusion_pytorch_model.safetensors", "pytorch_model.bin")
    for suffix in ("", INDEX)
)
"""The generator's weights in a folder saved by accelerate; `pytorch_model_1.bin` is another network, the guidance."""


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
    if path.suffix not in SUFFIXES and not path.name.endswith(INDEX):
        raise BadInput(f"{path}: a checkpoint ends in {', '.join(SUFFIXES)}")
    return path


def files_of(path: Path) -> list[Path]:
    """The files of a checkpoint: itself, or an index and its parts.

    Raises:
        BadInput: the index names no parts, or one that is not beside it.
    """
    if not path.name.endswith(INDEX):
        return [path]
    try:
        names = sorted(set(documents.parse(path.read_bytes())["weight_map"].values()))
        parts = [path.with_name(name) for name in names]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise BadInput(f"{path}: no index of a checkpoint in parts ({type(error).__name__}: {error})") from error
    for part, name in zip(parts, names, strict=True):
        if part.name != name or part.suffix not in SUFFIXES or not part.is_file():
            raise BadInput(f"{path} names the part {name!r}, which is not beside it; download that too")
    return [path, *parts]


def read_state(path: Path) -> Mapping[object, object]:
    """What a checkpoint holds, mapped from its files: tensors by name, maybe in containers, beside other values.

    Raises:
        BadInput: the file is empty, cut off, no checkpoint, holds anything but tensors, or would execute code.
    """
    if not path.stat().st_size:
        raise BadInput(f"{path}: the file is empty; a checkpoint was expected")
    if path.name.endswith(INDEX):
        return {name: value for part in files_of(path)[1:] for name, value in read_state(part).items()}
    state = _read_safetensors(path) if path.suffix == ".safetensors" else _read_torch(path)
    if not isinstance(state, Mapping) or next(flat(state), None) is None:
        raise BadInput(f"{path}: a state dict (names and tensors) was expected, found {_told(state)}")
    return state


def load_network(path: Path, config: NetworkConfig, weights: str = "") -> Denoiser:
    """The network with the weights of `path`, in evaluation mode on the CPU, float32.

    `weights` names the wrapper of those that are meant, where several sets fit.

    Raises:
        BadInput: as `read_state` and `unwrapped`; or a weight is not finite.
    """
    import torch

    from imgassets.models.edm import Denoiser

    with torch.device("meta"):
        network = Denoiser(config)
    wanted = network.state_dict()
    state = unwrapped(path, read_state(path), {k: tuple(v.shape) for k, v in wanted.items()}, weights)
    values = {}
    for name in wanted:
        tensor = state.get(name, torch.full((1, 1, 2, 2), 0.25)).to(torch.float32)
        if not torch.isfinite(tensor).all():
            raise BadInput(f"{path}: {name} holds values that are not finite; the checkpoint is damaged")
        if name.endswith(FILTER) and not torch.equal(tensor, torch.full((1, 1, 2, 2), 0.25)):
            raise BadInput(f"{path}: {name} is not the 2x2 mean that this network resamples with")
        values[name] = tensor
    network.load_state_dict(values, assign=True)
    return network.eval().requires_grad_(False)


def _told(state: object) -> str:
    keys = list(state)[:5] if isinstance(state, Mapping) else []
    return type(state).__name__ + (f" of {', '.join(map(repr, keys))}" if keys else "")


def _read_safetensors(path: Path) -> Mapping[str, Tensor]:
    load_file = extra("safetensors.torch").load_file
    from safetensors import SafetensorError

    try:
        state: Mapping[str, Tensor] = load_file(path)
    except (SafetensorError, OSError, ValueError) as error:
        with path.open("rb") as file:
            told = foreign(file.read(HEAD)) or f"is not a readable safetensors file ({error})"
        raise BadInput(f"{path} {told}") from error
    return state


def _read_torch(path: Path) -> object:
    import torch

    if not zipfile.is_zipfile(path):
        with path.open("rb") as file:
            head = file.read(HEAD)
        if head[:1] == b"\x80":
            raise BadInput(
                f"{path}: a bare pickle can run code when it is opened, so it is refused; save network.state_dict() "
                "with torch.save of PyTorch 1.6 or later"
            )
        told = foreign(head) or "is not a checkpoint; a file saved by torch.save was expected"
        raise BadInput(f"{path} {told}")
    try:
        return torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # the unpickler raises whatever the bytes make it raise
        if blocked := re.search(r"GLOBAL (\S+)", str(error)):
            raise BadInput(
                f"{path}: opening it would call {blocked[1]}, so it is refused; save network.state_dict() alone"
            ) from error
        reason = f"{type(error).__name__}: {str(error)[:160]}"
        raise BadInput(f"{path}: not a checkpoint of tensors alone, or cut off ({reason})") from error
