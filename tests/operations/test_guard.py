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
    path: str = "/", method: str = "GET", query: str = "", kind: str = "http", hosts: Any = None, **headers: str
) -> int:
    """The status a request gets: that of the guard, or 200 from the application behind it; 1008 for a websocket."""
    sent: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "passed", "status": 200})

    async def receive() -> Any:
        return {"type": "websocket.connect"}

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
}


@pytest.mark.parametrize("name", ALLOWED)
def test_the_ui_itself_is_not(name: str) -> None:
    assert ask(**ALLOWED[name]) == 200
