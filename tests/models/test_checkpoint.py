import io
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch  # noqa: TID253
from safetensors.torch import save_file

from imgassets.errors import LIMIT, BadInput
from imgassets.models.checkpoint import find_checkpoint, load_network
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
    ],
    ids=["no filters", "module", "feedforward_model", "state_dict", "extra filter", "float64"],
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
        (lambda w: w | {"step": 3}, "'step' is a int, no tensor"),
        (lambda _: torch.zeros(3), "found Tensor"),
        (lambda _: {}, "found dict"),
    ],
    ids=["missing", "unexpected", "shape", "nan", "filter", "not a tensor", "tensor", "empty dict"],
)
def test_weights_that_do_not_fit_are_named(tmp_path: Path, change: Callable[[State], object], expected: str) -> None:
    torch.save(change(state(TINY)), tmp_path / "a.pth")
    assert expected in refused(tmp_path / "a.pth")


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
