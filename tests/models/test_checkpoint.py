import io
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import save_file

from imgassets.errors import LIMIT, BadInput
from imgassets.models.checkpoint import files_of, find_checkpoint, load_network
from tests.models.networks import TINY, state

State = dict[str, torch.Tensor]


def refused(path: Path) -> str:
    with pytest.raises(BadInput) as caught:
        load_network(find_checkpoint(path), TINY)
    message = str(caught.value)
    assert path.name in message
    assert len(message) <= LIMIT
    return message


@pytest.mark.parametrize(
    "name", ["a.pth", "a.bin", "a.safetensors", "folder/pytorch_model.bin", "folder/model.safetensors"]
)
def test_every_kind_of_file_loads(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    save_file(state(TINY), path) if path.suffix == ".safetensors" else torch.save(state(TINY), path)
    (path.parent / "pytorch_model_1.bin").write_bytes(b"the guidance model, never opened")
    asked = path.parent if name.startswith("folder") else path
    loaded = load_network(find_checkpoint(asked), TINY).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(TINY).items())


def without_filters(weights: State) -> State:
    return {key: value for key, value in weights.items() if "resample_filter" not in key}


@pytest.mark.parametrize(
    "change",
    [
        without_filters,
        lambda w: {f"module.{k}": v for k, v in w.items()},
        lambda w: {f"module.feedforward_model.{k}": v for k, v in w.items()},
        lambda w: {"state_dict": w},
        lambda w: w | {"model.enc.16x16_conv.resample_filter": torch.ones(1, 1, 2, 2)},
        lambda w: {k: v.to(torch.float64) for k, v in w.items()},
        lambda w: {f"_orig_mod.{k}": v for k, v in w.items()},
        lambda w: {k.replace("model.", "model._orig_mod.", 1): v for k, v in w.items()},
        lambda w: {"epoch": 3, "optimizer": {"state": {0: {"step": torch.ones(1)}}}, "model": w},
        lambda w: {"a": {"b": {"generator": {f"module._fsdp_wrapped_module.{k}": v for k, v in w.items()}}}},
        lambda w: {"step": 3, **w},
        lambda w: {"generator": w, "critic": {"head.weight": torch.ones(3, 3)}},
    ],
    ids=[
        *("no filters", "module", "feedforward_model", "state_dict", "extra filter", "float64", "compiled"),
        *("compiled inside", "beside an optimizer", "deep", "a number beside", "another network beside"),
    ],
)
def test_what_training_scripts_leave_is_tolerated(tmp_path: Path, change: Callable[[State], object]) -> None:
    torch.save(change(state(TINY)), tmp_path / "a.pth")
    loaded = load_network(tmp_path / "a.pth", TINY).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(TINY).items())


def drop(weights: State) -> State:
    del weights["model.out_conv.bias"]
    return weights


def reshape(weights: State) -> State:
    return weights | {"model.out_conv.bias": torch.zeros(4)}


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (drop, "keys missing (model.out_conv.bias)"),
        (lambda w: w | {"logvar": torch.zeros(1)}, "1 unexpected (logvar)"),
        (reshape, "model.out_conv.bias is [4], wanted [3]"),
        (lambda w: w | {"model.out_conv.bias": torch.tensor([0, float("nan"), 0])}, "model.out_conv.bias holds values"),
        (lambda w: w | {"model.enc.8x8_down.conv0.resample_filter": torch.ones(1, 1, 2, 2)}, "is not the 2x2 mean"),
        (lambda w: {"model": w, "ema": w}, "2 sets of weights fit the network (model, ema), and which is meant"),
        (lambda w: w | {f"ema.{k}": v for k, v in w.items()}, "fit the network ('' (no wrapper), ema)"),
        (lambda w: w | {f"_orig_mod.{k}": v for k, v in w.items()}, "two tensors called model."),
        (lambda w: {"model": drop(w)}, "keys missing (model.out_conv.bias)"),
        (lambda w: {"net": {"x.weight": torch.ones(2)}, "step": 3}, "keys missing (model."),
        (lambda _: torch.zeros(3), "found Tensor"),
        (lambda _: {}, "found dict"),
        (lambda _: {"epoch": 3, "path": "x"}, "found dict of 'epoch', 'path'"),
    ],
    ids=[
        *("missing", "unexpected", "shape", "nan", "filter", "a copy", "a copy beside", "twice", "missing inside"),
        *("another network", "tensor", "empty dict", "no tensors"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Callable[[State], object], expected: str) -> None:
    torch.save(change(state(TINY)), tmp_path / "a.pth")
    assert expected in refused(tmp_path / "a.pth")


@pytest.mark.parametrize("chosen", ["model", "ema", "copies.ema"])
def test_one_of_several_is_named(tmp_path: Path, chosen: str) -> None:
    other = {key: value + 1 for key, value in without_filters(state(TINY)).items()}
    sets = {name: state(TINY) if name == chosen else other for name in ("model", "ema")}
    if "." in chosen:
        sets = {"ema": state(TINY), "x": other}
    torch.save({"copies": sets}, tmp_path / "a.pth")
    loaded = load_network(tmp_path / "a.pth", TINY, chosen).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(TINY).items())
    with pytest.raises(BadInput, match="none of them is called 'average'"):
        load_network(tmp_path / "a.pth", TINY, "average")


def in_parts(folder: Path, suffix: str) -> Path:
    """As Hugging Face's libraries save what is large."""
    weights, names = state(TINY), sorted(state(TINY))
    parts = {f"model-0000{k + 1}-of-00002{suffix}": names[k::2] for k in range(2)}
    for name, keys in parts.items():
        part = {key: weights[key] for key in keys}
        save_file(part, folder / name) if suffix == ".safetensors" else torch.save(part, folder / name)
    stem = "model.safetensors" if suffix == ".safetensors" else "pytorch_model.bin"
    index = folder / f"{stem}.index.json"
    index.write_text(json.dumps({"weight_map": {key: name for name, keys in parts.items() for key in keys}}))
    return index


@pytest.mark.parametrize("suffix", [".safetensors", ".bin"])
def test_parts_are_read_by_their_index(tmp_path: Path, suffix: str) -> None:
    index = in_parts(tmp_path, suffix)
    assert find_checkpoint(tmp_path) == find_checkpoint(index) == index
    loaded = load_network(index, TINY).state_dict()
    assert all(torch.equal(loaded[key], value) for key, value in state(TINY).items())
    assert files_of(index) == [index, *(tmp_path / f"model-0000{k}-of-00002{suffix}" for k in (1, 2))]
    (tmp_path / f"model-00002-of-00002{suffix}").unlink()
    assert "names the part 'model-00002-of-00002" in refused(index)


@pytest.mark.parametrize("name", ["../model.safetensors", "/etc/passwd", "", 3, None])
def test_an_index_names_parts_beside_it(tmp_path: Path, name: object) -> None:
    index = tmp_path / "model.safetensors.index.json"
    index.write_text(json.dumps({"weight_map": {"a": name}}))
    assert refused(index)


class Evil:
    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, (str(self.mark),)


def test_a_pickle_that_runs_code_is_refused_and_does_not_run(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    torch.save({"model.out_conv.bias": Evil(mark)}, tmp_path / "zip.pth")
    torch.save({"model.out_conv.bias": Evil(mark)}, tmp_path / "bare.bin", _use_new_zipfile_serialization=False)
    assert "would call posix.mkdir" in refused(tmp_path / "zip.pth")
    assert "bare pickle" in refused(tmp_path / "bare.bin")
    assert not mark.exists()


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
@pytest.mark.parametrize("content", [b"", b"hello", b"\x80"])
def test_what_is_no_checkpoint_is_refused(tmp_path: Path, suffix: str, content: bytes) -> None:
    path = tmp_path / f"a{suffix}"
    path.write_bytes(content)
    assert refused(path)


def test_a_cut_file_is_refused(tmp_path: Path) -> None:
    for name, save in (("a.pth", torch.save), ("a.safetensors", save_file)):
        buffer = io.BytesIO()
        path = tmp_path / name
        save(state(TINY), path)
        buffer.write(path.read_bytes())
        path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
        assert refused(path)


def test_a_glob_names_one_file(tmp_path: Path) -> None:
    for name in ("step_1.pth", "step_2.pth", "other.txt"):
        (tmp_path / name).write_bytes(b"x")
    assert find_checkpoint("step_1*", tmp_path).name == "step_1.pth"
    with pytest.raises(BadInput, match=r"2 checkpoints match \(step_1.pth, step_2.pth\)"):
        find_checkpoint("step_*", tmp_path)
    with pytest.raises(BadInput, match="no checkpoint there"):
        find_checkpoint("nothing_*", tmp_path)
    with pytest.raises(BadInput, match="no checkpoint there"):
        find_checkpoint("nothing.pth", tmp_path)
    with pytest.raises(BadInput, match="ends in"):
        find_checkpoint("other.txt", tmp_path)
    with pytest.raises(BadInput, match="has neither"):
        find_checkpoint(".", tmp_path)
    (tmp_path / "edm.pkl").write_bytes(b"x")
    with pytest.raises(BadInput, match="runs code"):
        find_checkpoint("edm.pkl", tmp_path)
