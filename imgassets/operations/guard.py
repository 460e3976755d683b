"""A gate before the UI, for a server that asks nobody for a password.

Dagster's webserver runs GraphQL mutations from a cross-site GET and answers to any host name, so any web page that is
open in the same browser could launch runs and wipe records, or read everything after it has pointed a name of its own
at 127.0.0.1. A browser says where a request comes from; requests from elsewhere end here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any
from urllib.parse import parse_qs, urlsplit

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY_VIOLATION = 1008
"""WebSocket close code, RFC 6455 section 7.4.1."""


class Guard:
    """An ASGI application that lets through to `app` what the user's own browser, or a program, sends to `hosts`."""

    def __init__(self, app: App, hosts: Collection[str] = LOOPBACK) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        problem = self.problem(scope) if scope["type"] in {"http", "websocket"} else ""
        if not problem:
            await self._app(scope, receive, send)
        elif scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem})
        else:
            text = f"Refused: {problem}.\n".encode()
            headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
            await send({"type": "http.response.start", "status": 403, "headers": headers})
            await send({"type": "http.response.body", "body": text})

    def problem(self, scope: Scope) -> str:
        """Why a request is refused; empty if it is not."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or _host(f"//{hosts[0]}") not in self._hosts:
            return "the Host is not this machine's; name others with --host"
        if any(_host(origin) not in self._hosts for origin in origins):
            return "the request comes from another site (Origin)"
        if any(site not in {"same-origin", "none"} for site in headers.get("sec-fetch-site", [])):
            return "the request comes from another site (Sec-Fetch-Site)"
        if scope["type"] == "http" and scope["path"].rstrip("/").endswith("/graphql"):
            return _graphql_problem(scope, headers)
        return ""


def _graphql_problem(scope: Scope, headers: dict[str, list[str]]) -> str:
    """A query runs only as JSON in a POST: a form of another site can send neither unnoticed."""
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if {"query", "mutation", "variables", "operationName"} & set(asked):
        return "GraphQL in an address is not run; send JSON in a POST"
    types = headers.get("content-type", [])
    if scope["method"] == "POST" and [t.split(";")[0].strip().lower() for t in types] != ["application/json"]:
        return "GraphQL is taken as application/json only"
    return ""


def _host(address: str) -> str:
    try:
        return (urlsplit(address).hostname or "").lower()
    except ValueError:
        return ""
