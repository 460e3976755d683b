"""Pinning, listing and fetching with the real client, against a hub that fails in every way hubs fail."""

from __future__ import annotations

import hashlib
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from imgassets.errors import LIMIT, BadInput, StoreError
from imgassets.sources.hub import Folder, Hub, RemoteFile, clean, git_sha1_of, mismatch, open_repository
from tests.hub import REPOSITORY, LoopbackHub, git_sha1
from tests.small_disk import small_disk

VOLUME = "dataset/train_fixed/train_1/train_1_a/train_1_a_1.nii.gz"
TABLE = "dataset/metadata/train_metadata.csv"
FILES = {
    VOLUME: bytes(range(256)) * 4000,
    TABLE: b"VolumeName\nx\n",
    **{f"dataset/train_fixed/train_{i}/v_{i}.nii.gz": b"%d" % i * 50 for i in range(2, 10)},
}
TOKEN = "hf_CANARYcanaryCANARYcanary"  # noqa: S105


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[LoopbackHub]:
    with LoopbackHub(FILES) as hub:
        hub.install(monkeypatch, tmp_path)
        yield hub


def listed(hub: LoopbackHub, path: str) -> RemoteFile:
    found = {file.path: file for file in Hub(REPOSITORY).list(hub.commit, "dataset")}
    return found[path]


def fetch(hub: LoopbackHub, into: Path, path: str = VOLUME, tries: int = 6) -> Path:
    return Hub(REPOSITORY, tries=tries).fetch(listed(hub, path), hub.commit, into)


def test_pins_and_lists_all_pages_with_checksums(hub: LoopbackHub) -> None:
    assert Hub(REPOSITORY).pin() == hub.commit
    files = {file.path: file for file in Hub(REPOSITORY).list(hub.commit, "dataset")}
    assert set(files) == set(FILES)
    assert files[VOLUME].sha256 == hashlib.sha256(FILES[VOLUME]).hexdigest()
    assert files[VOLUME].size == len(FILES[VOLUME])
    assert (files[TABLE].sha256, files[TABLE].git_sha1) == (None, git_sha1(FILES[TABLE]))
    assert hub.requests["GET", "tree"] >= 4


@pytest.mark.parametrize("fault", ["500", "503", "429", "drop", "reset", "stall", "short", "corrupt"])
@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("path", [VOLUME, TABLE])
def test_survives(hub: LoopbackHub, tmp_path: Path, fault: str, times: int, path: str) -> None:
    hub.faults[path] = [fault] * times
    found = fetch(hub, tmp_path / "work", path)
    assert found.read_bytes() == FILES[path]
    assert hub.downloads(path) > times
    assert [p for p in (tmp_path / "work").rglob("*") if p.is_file()] == [found]


def test_survives_all_faults_in_a_row(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults[VOLUME] = ["503", "corrupt", "reset", "drop", "500"]
    assert fetch(hub, tmp_path).read_bytes() == FILES[VOLUME]


@pytest.mark.parametrize("what", ["tree", "revision"])
@pytest.mark.parametrize("fault", ["500", "503", "429", "reset"])
def test_survives_in_the_listing_and_the_commit(hub: LoopbackHub, what: str, fault: str) -> None:
    hub.faults[what] = [fault] * 2
    assert Hub(REPOSITORY).pin() == hub.commit
    assert {file.path for file in Hub(REPOSITORY).list(hub.commit, "dataset")} == set(FILES)


def test_a_wrong_etag_does_not_matter(hub: LoopbackHub, tmp_path: Path) -> None:
    hub.faults[VOLUME] = ["etag"]
    assert fetch(hub, tmp_path).read_bytes() == FILES[VOLUME]


@pytest.mark.parametrize("fault", ["503", "corrupt", "reset"])
def test_gives_up_with_one_line_and_leaves_nothing(hub: LoopbackHub, tmp_path: Path, fault: str) -> None:
    hub.faults[VOLUME] = [fault] * 99
    with pytest.raises(BadInput, match=r"Failed to download dataset/train_fixed/.*train_1_a_1") as error:
        fetch(hub, tmp_path / "work", tries=3)
    assert "3 attempts" in str(error.value)
    assert len(str(error.value)) <= LIMIT
    assert error.value.__cause__ is None
    assert [p for p in (tmp_path / "work").rglob("*") if p.is_file()] == []


def test_a_file_that_is_gone_is_final(hub: LoopbackHub, tmp_path: Path) -> None:
    file = RemoteFile("dataset/train_fixed/nothing.nii.gz", 3, "0" * 64)
    with pytest.raises(BadInput, match="no such file at this commit"):
        Hub(REPOSITORY).fetch(file, hub.commit, tmp_path)
    assert sum(n for (_, path), n in hub.requests.items() if "nothing" in path) == 1


@pytest.mark.parametrize("token", [None, "hf_wrongTOKENwrong"])
def test_gated_is_final_and_says_what_to_do(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, token: str | None
) -> None:
    hub.token = TOKEN
    if token:
        monkeypatch.setenv("HF_TOKEN", token)
    with pytest.raises(BadInput, match=r"gated.*HF_TOKEN or run `hf auth login`") as error:
        Hub(REPOSITORY).pin()
    with caplog.at_level(logging.DEBUG):
        assert token is None or token not in str(error.value) + caplog.text


def test_the_token_is_sent_and_shown_nowhere(
    hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    hub.token = TOKEN
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.faults[VOLUME] = ["503", "reset"]
    with caplog.at_level(logging.DEBUG):
        assert fetch(hub, tmp_path).read_bytes() == FILES[VOLUME]
        hub.faults[VOLUME] = ["503"] * 9
        with pytest.raises(BadInput) as error:
            fetch(hub, tmp_path / "again", tries=2)
    assert hub.authorizations == {f"Bearer {TOKEN}"}
    assert TOKEN not in caplog.text + str(error.value) + repr(Hub(REPOSITORY))
    assert not any(TOKEN.encode() in p.read_bytes() for p in tmp_path.rglob("*") if p.is_file())


def test_a_stored_token_is_used(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from huggingface_hub import constants

    hub.token = TOKEN
    (tmp_path / "token").write_text(TOKEN)
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(tmp_path / "token"))
    assert Hub(REPOSITORY).pin() == hub.commit


def test_unknown_revision_and_repository(hub: LoopbackHub) -> None:
    with pytest.raises(BadInput, match="no revision 'v9'"):
        Hub(REPOSITORY, revision="v9").pin()
    with pytest.raises(BadInput, match=r"no dataset test-owner/other at http://127.0.0.1"):
        Hub("test-owner/other").pin()


def test_nobody_listens(hub: LoopbackHub, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(BadInput, match="Failed to look up"):
        Hub(REPOSITORY, tries=2).pin()


def test_a_commit_that_moves_does_not_move_what_was_pinned(hub: LoopbackHub, tmp_path: Path) -> None:
    file, pinned = listed(hub, VOLUME), hub.commit
    hub.commit = "f" * 40
    assert Hub(REPOSITORY).pin() == "f" * 40
    with pytest.raises(BadInput, match=r"no revision|no such file"):
        Hub(REPOSITORY, tries=2).fetch(file, pinned, tmp_path)


@pytest.mark.filterwarnings("ignore:Not enough free disk space")
@pytest.mark.parametrize("known", [True, False])
def test_a_full_disk_is_one_line_and_leaves_nothing(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, known: bool
) -> None:
    file = listed(hub, VOLUME)
    with small_disk(tmp_path / "disk", "512k") as disk:
        with monkeypatch.context() as told:
            if not known:  # it fills up while the file is on its way
                told.setattr(shutil, "disk_usage", lambda path: SimpleNamespace(free=1 << 40))
            with pytest.raises(StoreError, match=r"Failed to download .*train_1_a_1.*the disk is full") as error:
                Hub(REPOSITORY).fetch(file, hub.commit, disk / "work")
        assert len(str(error.value)) <= LIMIT
        assert hub.downloads(VOLUME) == (0 if known else 1)  # another attempt would only fill it again
        assert [p for p in disk.rglob("*") if p.is_file()] == []
        small = listed(hub, TABLE)
        assert Hub(REPOSITORY).fetch(small, hub.commit, disk / "work").read_bytes() == FILES[TABLE]


def test_offline_is_one_line_and_a_mirror_needs_no_network(
    hub: LoopbackHub, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from huggingface_hub import constants

    file = listed(hub, VOLUME)
    hub.requests.clear()
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    for ask in (
        Hub(REPOSITORY).pin,
        lambda: list(Hub(REPOSITORY).list(hub.commit, "dataset")),
        lambda: Hub(REPOSITORY).fetch(file, hub.commit, tmp_path / "work"),
    ):
        with pytest.raises(BadInput, match="HF_HUB_OFFLINE is set: unset it, or set IMGASSETS_CT_REPO") as error:
            ask()
        assert "attempts" not in str(error.value)
    assert not hub.requests
    (tmp_path / "mirror" / VOLUME).parent.mkdir(parents=True)
    (tmp_path / "mirror" / VOLUME).write_bytes(FILES[VOLUME])
    mirror = open_repository(str(tmp_path / "mirror"))
    assert mirror.fetch(file, mirror.pin(), tmp_path / "work").read_bytes() == FILES[VOLUME]


def test_folder_lists_and_verifies(tmp_path: Path) -> None:
    root = tmp_path / "mirror"
    for path, data in FILES.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_bytes(data)
    (root / "dataset/.cache").mkdir()
    (root / "dataset/.cache/x.incomplete").write_bytes(b"x")
    folder = open_repository(str(root))
    assert isinstance(folder, Folder)
    files = {file.path: file for file in folder.list("", "dataset")}
    assert set(files) == set(FILES)
    before = folder.pin()
    assert len(before) == 40
    assert folder.fetch(files[VOLUME], before, tmp_path / "work") == root / VOLUME
    (root / VOLUME).write_bytes(FILES[VOLUME][:-1] + b"?")
    assert folder.pin() != before
    with pytest.raises(BadInput, match="SHA-256"):
        folder.fetch(files[VOLUME], before, tmp_path / "work")
    (root / VOLUME).unlink()
    with pytest.raises(BadInput, match="Failed to read dataset/train_fixed"):
        folder.fetch(files[VOLUME], before, tmp_path / "work")


def test_what_names_no_repository_is_refused() -> None:
    for name in ("/no/such/folder", "https://huggingface.co/datasets/x/y", "a/b/c", ""):
        with pytest.raises(BadInput, match="neither a folder nor"):
            open_repository(name)


def test_mismatch_names_what_differs(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"abc")
    assert git_sha1_of(path) == git_sha1(b"abc")
    assert "3 bytes" in str(mismatch(path, RemoteFile("x", 4)))
    assert "no checksum" in str(mismatch(path, RemoteFile("x", 3)))
    assert mismatch(path, RemoteFile("x", 3, git_sha1=git_sha1(b"abc"))) is None


def test_clean_removes_what_is_secret() -> None:
    text = clean(f"GET https://user:pw@h.co/x?X-Amz-Signature=abc&y failed; Authorization: Bearer {TOKEN} and {TOKEN}")
    assert "abc" not in text
    assert "pw" not in text
    assert TOKEN not in text
    assert "h.co/x" in text
