"""A Hugging Face hub on loopback that the real client talks to, with the faults real hubs have.

with LoopbackHub({"dataset/a.nii.gz": b"..."}, token="hf_x") as hub:
    hub.faults["dataset/a.nii.gz"] = ["503", "corrupt"]    # for the first two GETs of it
    monkeypatch.setenv("HF_ENDPOINT", hub.url)
"""

from __future__ import annotations

import hashlib
import json
import re
import socket
import struct
import threading
import time
from collections import Counter, defaultdict
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import parse_qs, unquote, urlsplit

import pytest

REPOSITORY = "test-owner/ct"
PAGE = 3
"""Entries of a page of the listing: small, so that every test pages."""


class LoopbackHub:
    """Serves `files` (path to content) of one dataset repository at one commit; `token` makes it gated.

    `faults` has, per path, what goes wrong with its next requests, in order; the keys "tree" and "revision" stand for
    the listing and the commit. `requests` counts what was asked, by method and path; `small` files are git's own.
    """

    def __init__(self, files: dict[str, bytes], token: str | None = None, small: tuple[str, ...] = (".csv",)) -> None:
        self.files, self.token, self.small = dict(files), token, small
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.requests: Counter[tuple[str, str]] = Counter()
        self.authorizations: set[str | None] = set()
        self.commit = hashlib.sha1(repr(sorted(files.items())).encode(), usedforsecurity=False).hexdigest()
        self.released = threading.Event()
        self.connections: set[socket.socket] = set()
        hub = self

        class Handler(_Handler):
            server_hub = hub

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def __enter__(self) -> Self:
        threading.Thread(target=self.server.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        from huggingface_hub import HfFileSystem

        self.released.set()
        self.server.shutdown()
        self.server.server_close()
        # The next hub may get this port, and is another one: nothing of this one may answer for it.
        HfFileSystem.clear_instance_cache()
        for connection in list(self.connections):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)

    def install(self, monkeypatch: pytest.MonkeyPatch, empty: Path) -> None:
        """Make this the hub of the test, without a token, and let the client lose no time waiting."""
        from huggingface_hub import constants, file_download
        from huggingface_hub.utils import _http

        from imgassets.sources import hub

        for module in (file_download, _http, hub):
            monkeypatch.setattr(module, "time", _NoWaiting())
        monkeypatch.setattr(constants, "HF_HUB_DOWNLOAD_TIMEOUT", 0.5)
        monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(empty / "no_token"))
        monkeypatch.delenv("HF_TOKEN", raising=False)
        monkeypatch.setenv("HF_ENDPOINT", self.url)

    def entry(self, path: str) -> dict[str, Any]:
        """One line of the listing, as the hub's API has it."""
        data = self.files[path]
        entry: dict[str, Any] = {"type": "file", "path": path, "size": len(data), "oid": git_sha1(data)}
        if not path.endswith(self.small):
            entry["lfs"] = {"oid": hashlib.sha256(data).hexdigest(), "size": len(data), "pointerSize": 134}
        return entry

    def downloads(self, path: str) -> int:
        """How often the bytes of `path` were asked for."""
        return self.requests["GET", path]


class _NoWaiting:
    """The module `time`, but nobody sleeps."""

    def __getattr__(self, name: str) -> Any:
        return (lambda seconds: None) if name == "sleep" else getattr(time, name)


def git_sha1(data: bytes) -> str:
    """git's name for a content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data, usedforsecurity=False).hexdigest()


class _Handler(BaseHTTPRequestHandler):
    server_hub: LoopbackHub
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else every answer waits 40 ms for the client's acknowledgement

    def log_message(self, *arguments: Any) -> None:
        """Say nothing."""

    def setup(self) -> None:
        super().setup()
        self.server_hub.connections.add(self.connection)

    def finish(self) -> None:
        self.server_hub.connections.discard(self.connection)
        super().finish()

    def do_HEAD(self) -> None:
        self.answer()

    def do_GET(self) -> None:
        self.answer()

    def answer(self) -> None:
        hub, url = self.server_hub, urlsplit(self.path)
        hub.authorizations.add(self.headers.get("Authorization"))
        if hub.token and self.headers.get("Authorization") != f"Bearer {hub.token}":
            return self.error(401, "GatedRepo", "Access to dataset is restricted.")
        base = f"/api/datasets/{REPOSITORY}"
        if found := re.fullmatch(rf"{base}(?:/revision/([^/]+))?", url.path):
            return self.revision(found[1] or "main")
        if found := re.fullmatch(rf"{base}/tree/([^/]+)/(.*)", url.path):
            query = {name: values[0] for name, values in parse_qs(url.query).items()}
            recursive = query.get("recursive", "").lower() == "true"
            return self.tree(found[1], unquote(found[2]), recursive, int(query.get("cursor", "0")))
        if found := re.fullmatch(rf"/datasets/{REPOSITORY}/resolve/([^/]+)/(.*)", url.path):
            return self.file(found[1], found[2])
        return self.error(404, "RepoNotFound", "Repository not found")

    def revision(self, name: str) -> None:
        self.server_hub.requests[self.command, "revision"] += 1
        if self.broken("revision"):
            return None
        if name not in ("main", self.server_hub.commit):
            return self.error(404, "RevisionNotFound", "Invalid rev id")
        self.send_json({"_id": "1", "id": REPOSITORY, "sha": self.server_hub.commit, "siblings": []})
        return None

    def tree(self, revision: str, folder: str, recursive: bool, cursor: int) -> None:
        hub = self.server_hub
        hub.requests[self.command, "tree"] += 1
        if self.broken("tree"):
            return None
        if revision not in ("main", hub.commit):
            return self.error(404, "RevisionNotFound", "Invalid rev id")
        inside = [path for path in sorted(hub.files) if path.startswith(folder + "/")]
        entries = [hub.entry(path) for path in inside if recursive or "/" not in path[len(folder) + 1 :]]
        if not entries:
            return self.error(404, "EntryNotFound", "no such folder")
        more = {}
        if cursor + PAGE < len(entries):
            at = f"{hub.url}/api/datasets/{REPOSITORY}/tree/{revision}/{folder}"
            more = {"Link": f'<{at}?recursive={recursive}&cursor={cursor + PAGE}>; rel="next"'}
        self.send_json(entries[cursor : cursor + PAGE], more)
        return None

    def file(self, revision: str, path: str) -> None:
        hub = self.server_hub
        hub.requests[self.command, path] += 1
        if revision not in ("main", hub.commit):
            return self.error(404, "RevisionNotFound", "Invalid rev id")
        if path not in hub.files:
            return self.error(404, "EntryNotFound", "Entry not found")
        data, entry = hub.files[path], hub.entry(path)
        etag = entry["lfs"]["oid"] if "lfs" in entry else entry["oid"]
        about = {"X-Repo-Commit": revision, "ETag": f'"{etag}"', "Accept-Ranges": "bytes"}
        if "lfs" in entry:
            about |= {"X-Linked-Size": str(len(data)), "X-Linked-Etag": f'"{etag}"'}
        fault = "" if self.command == "HEAD" else self.next_fault(path)
        if self.command == "HEAD" and hub.faults[path][:1] == ["etag"]:
            hub.faults[path].pop(0)
            about |= {"ETag": f'"{"0" * 64}"', "X-Linked-Etag": f'"{"0" * 64}"'}
        if fault in {"500", "503"}:
            return self.error(int(fault), "", "try later")
        if fault == "429":
            return self.error(429, "", "slow down", {"Retry-After": "0"})
        if fault == "404":
            return self.error(404, "EntryNotFound", "Entry not found")
        start = 0
        end = len(data)
        if found := re.fullmatch(r"bytes=(\d+)-(\d*)", self.headers.get("Range", "")):
            start, end = int(found[1]), min(end, int(found[2] or end) + 1)
            about["Content-Range"] = f"bytes {start}-{end - 1}/{len(data)}"
        body = data[start:end]
        if fault == "corrupt":
            body = body[:-1] + bytes([body[-1] ^ 1])
        self.send_response(206 if found else 200)
        for name, value in (about | {"Content-Length": str(len(body))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command == "HEAD":
            return None
        if fault in {"drop", "reset", "stall", "short"}:
            self.wfile.write(body[: len(body) // 2])
            self.wfile.flush()
            self.close_connection = True
            if fault == "stall":
                hub.released.wait(5)
            elif fault == "reset":  # RST instead of FIN
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.connection.close()
            return None
        self.wfile.write(body)
        return None

    def next_fault(self, what: str) -> str:
        faults = self.server_hub.faults[what]
        return faults.pop(0) if faults else ""

    def broken(self, what: str) -> bool:
        fault = self.next_fault(what)
        if fault == "reset":
            self.close_connection = True
            self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.connection.close()
        elif fault:
            self.error(int(fault), "", "try later", {"Retry-After": "0"})
        return bool(fault)

    def send_json(self, value: Any, headers: dict[str, str] | None = None) -> None:
        self.respond(200, json.dumps(value).encode(), {"Content-Type": "application/json", **(headers or {})})

    def error(self, status: int, code: str, message: str, headers: dict[str, str] | None = None) -> None:
        named = {"X-Error-Code": code} if code else {}
        self.respond(
            status, json.dumps({"error": message}).encode(), {**named, "X-Error-Message": message, **(headers or {})}
        )

    def respond(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
