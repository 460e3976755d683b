"""A dataset repository of the Hugging Face hub, or a folder in its shape: pinned, listed, fetched and verified.

The client (huggingface_hub) resumes dropped downloads and waits on 429 by itself, but gives up at once on a 5xx answer
or a reset connection, and takes any body of the right length for the file. So every fetch here is retried with growing
waits and compared with the checksum in the listing. The token is read by the client alone (HF_TOKEN, or what
`hf auth login` stored); it is never kept here, and what an error quotes is cleaned of it.
"""

from __future__ import annotations

import errno
import hashlib
import logging
import os
import re
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from imgassets.errors import BadInput, ImgassetsError, StoreError

log = logging.getLogger(__name__)
T = TypeVar("T")
CHUNK = 1 << 20
LONGEST_WAIT = 60.0
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})
"""What the operating system answers when a disk or a quota is full."""
LOOK_TIMEOUT = 5.0


@dataclass(frozen=True)
class RemoteFile:
    """A file of the listing: its size in bytes, and its SHA-256, or git's SHA-1 for small files git itself holds."""

    path: str
    size: int
    sha256: str | None = None
    git_sha1: str | None = None


class Repository(Protocol):
    """Where volumes and tables come from."""

    @property
    def name(self) -> str:
        """As a person would say it."""

    def pin(self) -> str:
        """A name (40 hexadecimal digits) for the present state; everything else is asked of that state."""

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        """All files below `folder`."""

    def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
        """A path with the file's verified bytes, below `into` if they had to be downloaded.

        Raises:
            BadInput: `Failed to download <file>: <reason>`, when no attempt gave the listed bytes.
            StoreError: the disk of `into` is full.
        """


def open_repository(name: str) -> Repository:
    """`owner/name` on the hub, or the path of a folder shaped like one. Raises BadInput when it is neither."""
    if name and Path(name).is_dir():
        return Folder(Path(name))
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name):
        return Hub(name)
    raise BadInput(f"{name!r} is neither a folder nor a repository owner/name: set IMGASSETS_CT_REPO to one of them.")


@dataclass(frozen=True)
class Folder:
    """A local mirror; its pinned state is a digest of the names and contents of all files below `dataset/`."""

    root: Path
    digest: Callable[[Path], str] = lambda path: sha256_of(path)
    """SHA-256 of a file; a memory of them saves reading a mirror of terabytes again."""

    @property
    def name(self) -> str:
        """The folder's own name: where it lies is nobody's business."""
        return self.root.resolve().name

    def pin(self) -> str:
        """The first 40 digits of a SHA-256 over path and SHA-256 of every file."""
        lines = (f"{file.sha256} {file.path}\n" for file in self.list("", "dataset"))
        return hashlib.sha256("".join(lines).encode()).hexdigest()[:40]

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        """All files below `folder`, by name; hidden ones are not part of a repository."""
        for where, folders, names in os.walk(self.root / folder, followlinks=True):
            folders[:] = sorted(name for name in folders if not name.startswith("."))
            for name in sorted(names):
                path = Path(where, name)
                if not name.startswith(".") and path.is_file():
                    digest = self.digest(path)
                    yield RemoteFile(path.relative_to(self.root).as_posix(), path.stat().st_size, digest)

    def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
        """The file itself, after comparing it with the listing."""
        path = self.root / file.path
        try:
            problem = mismatch(path, file)
        except OSError as error:
            raise BadInput(f"Failed to read {file.path}: {error.strerror}.") from error
        if problem:
            raise BadInput(f"Failed to read {file.path}: {problem}; materialize ct_rate/volume_index again.")
        return path


@dataclass(frozen=True)
class Hub:
    """A dataset repository behind HF_ENDPOINT; `tries` attempts a request, `wait` s before the second, then doubled."""

    name: str
    revision: str = "main"
    tries: int = 6
    wait: float = 1.0
    timeout: float | None = None
    """Seconds that the look-up of a commit waits for an answer; None: as long as the client does."""

    def impatient(self) -> Hub:
        """The same for plans and sensors, which nobody wants to wait for: one attempt, a few seconds."""
        return replace(self, tries=1, timeout=LOOK_TIMEOUT)

    def pin(self) -> str:
        """The commit that `revision` points to now."""

        def ask() -> str:
            from huggingface_hub import HfApi

            return str(
                HfApi(endpoint=endpoint()).dataset_info(self.name, revision=self.revision, timeout=self.timeout).sha
            )

        return self._retry(f"Failed to look up {self.name}", self.revision, ask)

    def list(self, revision: str, folder: str) -> Iterator[RemoteFile]:
        """All files below `folder` at a commit, all pages of the listing."""

        def ask() -> list[RemoteFile]:
            from huggingface_hub import HfApi, RepoFile

            entries = HfApi(endpoint=endpoint()).list_repo_tree(
                self.name, folder, recursive=True, revision=revision, repo_type="dataset"
            )
            files = [entry for entry in entries if isinstance(entry, RepoFile)]
            return [
                _sound(
                    RemoteFile(f.path, f.lfs.size, f.lfs.sha256)
                    if f.lfs
                    else RemoteFile(f.path, f.size, None, f.blob_id)
                )
                for f in files
            ]

        return iter(self._retry(f"Failed to list {folder} of {self.name}", revision, ask))

    def fetch(self, file: RemoteFile, revision: str, into: Path) -> Path:
        """Download into `into`, a folder for this file alone, until the bytes are the listed ones."""

        def ask() -> Path:
            from huggingface_hub import hf_hub_download
            from huggingface_hub.utils.tqdm import disable_progress_bars

            disable_progress_bars()
            into.mkdir(parents=True, exist_ok=True)
            if shutil.disk_usage(into).free < file.size:
                raise disk_full(f"Failed to download {file.path} ({file.size:,} bytes)", into)
            try:
                path = Path(
                    hf_hub_download(
                        self.name,
                        file.path,
                        repo_type="dataset",
                        revision=revision,
                        local_dir=into,
                        endpoint=endpoint(),
                        force_download=True,  # a file of an earlier attempt is not looked at otherwise
                    )
                )
            except OSError as error:
                if error.errno in FULL:
                    raise disk_full(f"Failed to download {file.path}", into) from None
                raise
            finally:
                shutil.rmtree(into / ".cache", ignore_errors=True)
            if problem := mismatch(path, file):
                path.unlink()
                raise _Damaged(problem)
            return path

        return self._retry(f"Failed to download {file.path}", revision, ask)

    def _retry(self, what: str, revision: str, ask: Callable[[], T]) -> T:
        for attempt in range(1, self.tries + 1):
            try:
                return ask()
            except ImgassetsError:
                raise
            except Exception as error:  # the client raises its own, httpx's and the operating system's
                final = _final(error, self.name, revision)
                reason = final or clean(str(error) or type(error).__name__)
                if final or attempt == self.tries:
                    after = f" ({attempt} attempts)" if attempt > 1 and not final else ""
                    raise BadInput(f"{what}: {reason}{after}") from None
                pause = min(self.wait * 2 ** (attempt - 1), LONGEST_WAIT)
                log.warning("%s: %s; attempt %d of %d in %.0f s", what, reason, attempt + 1, self.tries, pause)
                time.sleep(pause)
        raise AssertionError("unreachable")


def disk_full(what: str, folder: Path) -> StoreError:
    """What to tell when there is no room left in the folder that files pass through."""
    free = shutil.disk_usage(folder).free / 2**20
    return StoreError(f"{what}: the disk is full, {free:,.1f} MiB are free at {folder}; free some space and run again.")


def _sound(file: RemoteFile) -> RemoteFile:
    """A file as a hub lists it; BadInput where that is none, or lies outside of the folder it is put into."""
    names = set(file.path.split("/")) if isinstance(file.path, str) and file.path.isprintable() else {""}
    sums = all(isinstance(digest, str | None) for digest in (file.sha256, file.git_sha1))
    if names & {"", ".", ".."} or type(file.size) is not int or file.size < 0 or not sums:
        raise BadInput(f"The hub lists {str(file.path)[:80]!r} of {str(file.size)[:20]} bytes, which can be no file.")
    return file


class _Damaged(Exception):
    """A download whose bytes are not those of the listing."""


def _final(error: Exception, repository: str, revision: str) -> str | None:
    """What to do about an error that another attempt cannot mend; None where it can."""
    from huggingface_hub import constants, errors

    if constants.HF_HUB_OFFLINE:  # not every call of the client says it with an error of its own
        return "HF_HUB_OFFLINE is set: unset it, or set IMGASSETS_CT_REPO to a local folder."
    if isinstance(error, errors.GatedRepoError):
        return (
            f"{repository} is gated and this account has no access: ask for it at {endpoint()}/datasets/{repository}, "
            "then set HF_TOKEN or run `hf auth login`."
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{repository} has no revision {revision!r}."
    if isinstance(error, errors.RepositoryNotFoundError):
        return f"there is no dataset {repository} at {endpoint()}, or it is private: set IMGASSETS_CT_REPO or HF_TOKEN."
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{repository} has no such file at this commit; materialize ct_rate/volume_index again."
    response = getattr(error, "response", None)
    status = getattr(response, "status_code", None)
    if status in {401, 403}:
        return f"the hub answers {status}: the token is missing, wrong, or not allowed to read {repository}."
    if status is not None and 400 <= status < 500 and status not in {408, 416, 429}:
        return clean(str(error))
    return None


def endpoint() -> str:
    """HF_ENDPOINT as it is now (the client reads it once, when it is imported)."""
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def mismatch(path: Path, file: RemoteFile) -> str | None:
    """How the bytes at `path` differ from the listing, or None."""
    size = path.stat().st_size
    if size != file.size:
        return f"{size:,} bytes, the listing says {file.size:,}"
    if file.sha256:
        found, expected, kind = sha256_of(path), file.sha256, "SHA-256"
    elif file.git_sha1:
        found, expected, kind = git_sha1_of(path), file.git_sha1, "git SHA-1"
    else:
        return "the listing has no checksum for it"
    return None if found == expected else f"its {kind} is {found[:16]}…, the listing says {expected[:16]}…"


def sha256_of(path: Path) -> str:
    """Hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def git_sha1_of(path: Path) -> str:
    """The name git gives a file's content (git hash-object)."""
    digest = hashlib.sha1(f"blob {path.stat().st_size}\0".encode(), usedforsecurity=False)
    with path.open("rb") as file:
        for block in iter(lambda: file.read(CHUNK), b""):
            digest.update(block)
    return digest.hexdigest()


def clean(text: str) -> str:
    """`text` without tokens, credentials in URLs, or the signatures of signed URLs."""
    text = " ".join(text.split())
    text = re.sub(r"hf_[A-Za-z0-9]{4,}", "hf_…", text)
    text = re.sub(r"(?i)(authorization\W+)(bearer\s+)?\S+", r"\1…", text)
    text = re.sub(r"//[^/@\s]+@", "//…@", text)
    return re.sub(r"(https?://[^\s?]+)\?\S+", r"\1?…", text)
