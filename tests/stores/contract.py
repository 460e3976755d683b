"""The codec contract of this package's own formats: also over a hub and a web server."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import fsspec
import pytest
import torch  # noqa: TID253
from torch.utils.data import DataLoader  # noqa: TID253

from imgassets.sources.base import Source
from imgassets.stores import open_store
from imgassets.testing.codec import CodecContract, Serve, contents, served
from tests.hub import REPOSITORY, LoopbackHub


@contextmanager
def anywhere(path: Path, protocol: str, empty: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """The URL of a store, also of one on a hub of this machine."""
    if protocol not in {"hf", "http"}:
        with served(path, protocol) as url:
            yield url
        return
    with LoopbackHub({f"stores/one/{name}": data for name, data in contents(path).items()}) as hub:
        hub.install(monkeypatch, empty)
        monkeypatch.setitem(fsspec.config.conf, "hf", {"endpoint": hub.url})
        folder = f"datasets/{REPOSITORY}"
        yield f"hf://{folder}/stores/one" if protocol == "hf" else f"{hub.url}/{folder}/resolve/main/stores/one"


class StoreContract(CodecContract):
    """As other packages' codecs are tested, and more."""

    protocols = ("file", "memory", "hf", "http")

    @pytest.fixture
    def serve(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Serve:
        return partial(anywhere, empty=tmp_path, monkeypatch=monkeypatch)

    @pytest.mark.parametrize("protocol", ["hf", "http"])
    def test_remote_from_forked_workers(
        self, made: Mapping[str, tuple[Source, Path]], protocol: str, serve: Serve
    ) -> None:
        path = made["arrays"][1]
        with serve(path, protocol) as url:
            local, remote = open_store(path), open_store(url)
            assert torch.equal(remote[0][0], local[0][0])  # connections of this process, which no other may use
            loader = DataLoader(remote, batch_size=4, num_workers=2, multiprocessing_context="fork")
            assert torch.equal(torch.cat([images for images, _ in loader]), local.batch(range(len(local)))[0])
