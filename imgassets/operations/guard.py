"""A gate before the UI, for a server that asks nobody for a password.

Dagster's webserver runs GraphQL mutations from a cross-site GET and answers to any host name, so any web page that is
open in the same browser could launch runs and wipe records, or read everything after it has pointed a name of its own
at 127.0.0.1. A browser says where a request comes from; requests from elsewhere end here, and so do those that would
keep the server busy, or climb out of a folder.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, MutableMapping
from typing import Any, NamedTuple
from urllib.parse import parse_qs

from imgassets.operations import queries

Message = MutableMapping[str, Any]
Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
POLICY_VIOLATION = 1008
"""WebSocket close code, RFC 6455 section 7.4.1."""
LARGEST_BODY = 1 << 24
"""Bytes of a request: the names of all partitions of a backfill are a few MB."""
BODY_SECONDS = 60.0
PLACE = re.compile(r"(?:\[([0-9a-f:.]+)\]|([a-z0-9._-]+))(?::([0-9]*))?", re.IGNORECASE)
"""Host and port, and nothing else: no user, no path."""
LOG_PARTS = 3
"""A log lies at `/logs/KEY/KIND`, with any number of parts in the key: less, or an empty one, is none."""
DEFAULT_PORTS = {"http": "80", "https": "443"}


class Refusal(NamedTuple):
    """What a request gets in place of its answer."""

    status: int
    reason: str


class Guard:
    """An ASGI application that lets through to `app` what the user's own browser, or a program, sends to `hosts`."""

    def __init__(
        self, app: App, hosts: Collection[str] = LOOPBACK, largest: int = LARGEST_BODY, patience: float = BODY_SECONDS
    ) -> None:
        self._app = app
        self._hosts = {host.lower() for host in hosts}
        self._largest, self._patience = largest, patience

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            await self._request(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self._app(scope, receive, send)

    async def _request(self, scope: Scope, receive: Receive, send: Send) -> None:
        refusal = self.refusal(scope)
        if not refusal and scope["method"] not in {"GET", "HEAD", "OPTIONS"}:
            body, refusal = await self._body(receive)
            if (
                not refusal
                and _is_graphql(scope)
                and (problem := await asyncio.to_thread(queries.problem_of_request, body))
            ):
                refusal = Refusal(400, problem)
            receive = _again(body, receive)
        if not refusal:
            await self._app(scope, receive, send)
            return
        text = f"Refused: {refusal.reason}.\n".encode()
        headers = [(b"content-type", b"text/plain; charset=utf-8"), (b"content-length", b"%d" % len(text))]
        headers.append((b"connection", b"close"))  # whatever of the request is still to come
        await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
        await send({"type": "http.response.body", "body": text})

    async def _body(self, receive: Receive) -> tuple[bytes, Refusal | None]:
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._patience):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._largest:
                        return b"", Refusal(413, f"a request has {self._largest} bytes at most")
        except TimeoutError:
            return b"", Refusal(408, f"the request was not over within {self._patience:g} s")
        return bytes(body), None

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        if refusal := self.refusal(scope):
            await receive()
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": refusal.reason})
            return

        async def checked() -> Message:
            message = await receive()
            if message["type"] != "websocket.receive":
                return message
            problem = await asyncio.to_thread(queries.problem_of_message, message.get("text") or "")
            if not problem:
                return message
            await send({"type": "websocket.close", "code": POLICY_VIOLATION, "reason": problem})
            return {"type": "websocket.disconnect", "code": POLICY_VIOLATION}

        await self._app(scope, checked, send)

    def refusal(self, scope: Scope) -> Refusal | None:
        """Why a request ends here, as far as its head says; None if it does not."""
        headers: dict[str, list[str]] = {}
        for name, value in scope["headers"]:
            headers.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
        if problem := self._from_elsewhere(headers):
            return Refusal(403, problem)
        if _climbs(scope):
            return Refusal(400, "the address climbs out of its folder")
        if scope["type"] == "http" and _is_graphql(scope) and (problem := _graphql_problem(scope, headers)):
            return Refusal(403, problem)
        return None

    def _from_elsewhere(self, headers: dict[str, list[str]]) -> str:
        hosts, origins = headers.get("host", []), headers.get("origin", [])
        if len(hosts) != 1 or not self._is_known(PLACE.fullmatch(hosts[0])):
            return "the Host is not this machine's; name others with --host"
        if not all(self._is_ours(origin, hosts[0]) for origin in origins):
            return "the request comes from another site (Origin)"
        if any(site not in {"same-origin", "none"} for site in headers.get("sec-fetch-site", [])):
            return "the request comes from another site (Sec-Fetch-Site)"
        return ""

    def _is_known(self, place: re.Match[str] | None) -> bool:
        return place is not None and (_name(place) in self._hosts or place[0].lower() in self._hosts)

    def _is_ours(self, origin: str, host: str) -> bool:
        """Whether a page comes from the very place that is asked, or from a proxy that was named and asks as itself."""
        scheme, _, rest = origin.partition("://")
        default, page, asked = DEFAULT_PORTS.get(scheme.lower()), PLACE.fullmatch(rest), PLACE.fullmatch(host)
        if default is None or page is None or asked is None or not self._is_known(page):
            return False
        of_page, of_asked = (place[3] or default for place in (page, asked))
        if _name(page) == _name(asked):
            return of_page == of_asked
        return _name(page) not in LOOPBACK and (of_page == default or rest.lower() in self._hosts)


def _name(place: re.Match[str]) -> str:
    return (place[1] or place[2]).lower()


def _climbs(scope: Scope) -> bool:
    """Whether a path, or a notebook's in the query, leads elsewhere than it says; browsers never send such."""
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1")) if "notebook" in scope["path"] else {}
    if any("\0" in path or ".." in re.split(r"[/\\]", path) for path in (scope["path"], *asked.get("path", []))):
        return True
    _, first, *rest = f"{scope['path']}/".split("/")
    return first == "logs" and (len(rest) < LOG_PARTS or "" in rest[:-1])


def _is_graphql(scope: Scope) -> bool:
    return str(scope["path"]).rstrip("/").endswith("/graphql")


def _graphql_problem(scope: Scope, headers: dict[str, list[str]]) -> str:
    """A query runs only as JSON in a POST: a form of another site can send neither unnoticed."""
    asked = parse_qs(scope.get("query_string", b"").decode("latin-1"), keep_blank_values=True)
    if {"query", "mutation", "variables", "operationName"} & set(asked):
        return "GraphQL in an address is not run; send JSON in a POST"
    types = headers.get("content-type", [])
    if scope["method"] == "POST" and [t.split(";")[0].strip().lower() for t in types] != ["application/json"]:
        return "GraphQL is taken as application/json only"
    return ""


def _again(body: bytes, receive: Receive) -> Receive:
    """What gives a body that was taken already, and then whatever follows it."""
    waiting: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]

    async def give() -> Message:
        return waiting.pop() if waiting else await receive()

    return give
