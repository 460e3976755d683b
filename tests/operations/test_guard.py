"""What another site can make a browser send is refused; what the UI and programs send is not."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from imgassets.operations.guard import Guard

UI = {"host": "127.0.0.1:3000"}
OURS = "http://127.0.0.1:3000"
EVIL = "https://evil.example"
QUERY = "query=mutation{x}"
POST: dict[str, Any] = {"path": "/graphql", "method": "POST", **UI}
JSON = {**POST, "content_type": "application/json"}


def ask(
    path: str = "/",
    method: str = "GET",
    query: str = "",
    kind: str = "http",
    hosts: Any = None,
    body: bytes = b'{"query": "{ version }"}',
    **headers: str,
) -> int:
    """The status a request gets: that of the guard, or 200 from the application behind it; 1008 for a websocket."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if method == "POST":
            assert (await receive())["body"] == body
        await send({"type": "passed", "status": 200})

    async def receive() -> Any:
        return {"type": "websocket.connect"} if kind == "websocket" else {"type": "http.request", "body": body}

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {
        "type": kind,
        "path": path,
        "method": method,
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
    }
    guard = Guard(app, hosts) if hosts else Guard(app)
    asyncio.run(guard(scope, receive, send))
    return int(sent[0].get("status") or sent[0]["code"])


ATTACKS: dict[str, dict[str, Any]] = {
    "mutation in an address": {"path": "/graphql", "query": "query=mutation{wipeAssets}", **UI},
    "mutation by an image tag": {"path": "/graphql", "query": QUERY, **UI, "sec_fetch_site": "cross-site"},
    "mutation by HEAD": {"path": "/graphql", "method": "HEAD", "query": QUERY, **UI},
    "address on a POST": {**JSON, "query": QUERY},
    "text/plain POST": {**POST, "content_type": "text/plain"},
    "form POST": {"path": "/graphql/", "method": "POST", **UI, "content_type": "application/x-www-form-urlencoded"},
    "POST of no type": POST,
    "foreign origin": {**JSON, "origin": EVIL},
    "origin of a sandboxed frame": {**JSON, "origin": "null"},
    "rebound name": {"path": "/", "host": "evil.example:3000"},
    "no host": {"path": "/"},
    "name that begins like ours": {"path": "/", "host": "127.0.0.1.evil.example"},
    "user before a foreign host": {"path": "/", "host": "localhost@evil.example"},
    "same site, another port's page": {"path": "/", **UI, "sec_fetch_site": "same-site"},
    "report of a materialization": {"path": "/report_asset_materialization/x", "method": "POST", **UI, "origin": EVIL},
    "origin on another port": {**JSON, "origin": "http://127.0.0.1:8888"},
    "origin without the port": {**JSON, "origin": "http://127.0.0.1"},
    "origin by another name": {**JSON, "origin": "http://localhost:3000"},
    "origin of another scheme": {**JSON, "origin": "ftp://127.0.0.1:3000"},
    "origin with a user": {**JSON, "origin": "http://me@127.0.0.1:3000"},
    "origin with a path": {**JSON, "origin": "http://127.0.0.1:3000/"},
    "origin on another port of a proxy": {
        **JSON,
        "origin": "https://node7.lab:8443",
        "hosts": {"127.0.0.1", "node7.lab"},
    },
    "user before our host": {"path": "/", "host": "evil@127.0.0.1:3000"},
    "user and password": {"path": "/", "host": "a:b@localhost"},
    "host with a path": {"path": "/", "host": "127.0.0.1/evil.example"},
    "host with a tab": {"path": "/", "host": "local\thost"},
    "host with a space": {"path": "/", "host": "localhost "},
    "host with two ports": {"path": "/", "host": "localhost:3000:80"},
    "websocket of another port": {"path": "/graphql", "kind": "websocket", **UI, "origin": "http://127.0.0.1:1"},
    "websocket of another site": {"path": "/graphql", "kind": "websocket", **UI, "origin": EVIL},
    "websocket to a rebound name": {"path": "/graphql", "kind": "websocket", "host": "evil.example"},
}


@pytest.mark.parametrize("name", ATTACKS)
def test_attacks_are_refused(name: str) -> None:
    assert ask(**ATTACKS[name]) in {403, 1008}


ALLOWED: dict[str, dict[str, Any]] = {
    "the page": {**UI, "sec_fetch_site": "none"},
    "by name": {"host": "localhost:3000"},
    "by IPv6": {"host": "[::1]:3000"},
    "a query": {**JSON, "origin": OURS, "sec_fetch_site": "same-origin"},
    "a program": JSON,
    "the playground": {"path": "/graphql", **UI},
    "a websocket": {"path": "/graphql", "kind": "websocket", **UI, "origin": OURS},
    "a proxy's name": {"host": "node7.lab", "hosts": {"node7.lab"}},
    "the page of a proxy": {**JSON, "host": "node7.lab", "origin": "https://node7.lab", "hosts": {"node7.lab"}},
    "a proxy that asks as itself": {**JSON, "origin": "https://node7.lab", "hosts": {"127.0.0.1", "node7.lab"}},
    "a proxy's port": {**JSON, "origin": "https://node7.lab:8443", "hosts": {"127.0.0.1", "node7.lab:8443"}},
    "a tunnel": {**JSON, "host": "localhost:4000", "origin": "http://localhost:4000"},
    "a port that goes without saying": {**JSON, "host": "localhost:80", "origin": "http://localhost"},
    "an asset's page": {**UI, "path": "/assets/a..b/c"},
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_ui_itself_is_not(name: str) -> None:
    assert ask(**ALLOWED[name]) == 200


CLIMBING = ["/logs/../x.out", "/logs/a/../../etc/passwd.out", "/..", "/_next/../../x", "/logs//etc/passwd.out"]
CLIMBING += ["/a\\..\\b", "/logs/a\0b.out", "/report_asset_materialization/../x"]


@pytest.mark.parametrize("path", CLIMBING)
def test_a_path_that_climbs(path: str) -> None:
    assert ask(path, **UI) == 400


def test_a_notebook_that_climbs() -> None:
    assert ask("/notebook", query="repoLocName=x&path=../../secret.ipynb", **UI) == 400
    assert ask("/notebook", query="repoLocName=x&path=/books/a.ipynb", **UI) == 200


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"3", b'{"query": 3}', b'{"query": "{a}", "variables": []}', b"\xff", b"[" * 100_000],
    ids=range(8),
)
def test_what_is_no_request(body: bytes) -> None:
    assert ask(**JSON, body=body) == 400


def test_a_body_that_is_too_large_or_does_not_end() -> None:
    async def app(*_: Any) -> None:
        raise AssertionError

    async def send(message: Any) -> None:
        sent.append(message)

    async def drips() -> Any:
        await asyncio.sleep(0.02)
        return {"type": "http.request", "body": b"a", "more_body": True}

    async def pours() -> Any:
        return {"type": "http.request", "body": b"a" * 100, "more_body": True}

    sent: list[Any] = []
    scope = {"type": "http", "path": "/x", "method": "POST", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(app, patience=0.2)(scope, drips, send))
    asyncio.run(Guard(app, largest=1000)(scope, pours, send))
    assert [message["status"] for message in sent if "status" in message] == [408, 413]


@pytest.mark.parametrize(
    "text", ["", "{", "[]", '{"type": "start"}', '{"type": "start", "payload": {"query": "{%s}"}}']
)
def test_a_message_over_a_websocket(text: str) -> None:
    """What is no message, or too large a query, ends the connection; the rest arrives as it is."""
    fine = {"type": "websocket.receive", "text": '{"type": "start", "payload": {"query": "{a}"}}'}
    bad = {"type": "websocket.receive", "text": text.replace("%s", " ".join(f"a{n}: a" for n in range(1000)))}
    start = {"type": "websocket.receive", "text": '{"type": "connection_init"}'}
    waiting, came, sent = [bad, fine, start, {"type": "websocket.connect"}], [], []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        while (message := await receive())["type"] != "websocket.disconnect":
            came.append(message)

    async def receive() -> Any:
        return waiting.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "websocket", "path": "/graphql", "headers": [(b"host", b"localhost")]}
    asyncio.run(Guard(app)(scope, receive, send))
    assert came[1:] == [start, fine]
    assert sent[0]["code"] == 1008
