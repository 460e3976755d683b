"""Guard, connections and Dagster's webserver together, over sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import dagster as dg
import pytest
import uvicorn
from graphql import get_introspection_query
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import connect

from imgassets.io import dagster_private
from imgassets.operations.connections import PunctualProtocol
from imgassets.operations.guard import Guard

SECONDS = 0.5


class Hasty(PunctualProtocol):
    """As in earnest, but with less patience."""

    seconds = SECONDS


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    folder = tmp_path_factory.mktemp("served")
    workspace = folder / "workspace.yaml"
    workspace.write_text(json.dumps({"load_from": []}))
    with (
        dg.DagsterInstance.local_temp(str(folder)) as instance,
        dagster_private.web_app(instance, workspace, read_only=False) as app,
        socket.create_server(("127.0.0.1", 0)) as listening,
    ):
        config = uvicorn.Config(Guard(app, patience=SECONDS), http=Hasty, log_level="error", lifespan="on")
        server = uvicorn.Server(config)
        thread = threading.Thread(target=lambda: asyncio.run(server.serve([listening])))
        thread.start()
        yield listening.getsockname()[1]
        server.should_exit = True
        thread.join()


def exchange(port: int, sent: bytes) -> bytes:
    """All that comes back until the server closes the connection."""
    with closing(socket.create_connection(("127.0.0.1", port), timeout=30)) as connection:
        connection.sendall(sent)
        return b"".join(iter(lambda: connection.recv(1 << 16), b""))


def request(port: int, target: str, body: bytes | None = None, *more: str) -> tuple[int, bytes]:
    """Status and body."""
    lines = [f"{'GET' if body is None else 'POST'} {target} HTTP/1.1", f"Host: 127.0.0.1:{port}", "Connection: close"]
    lines += ["Content-Type: application/json", f"Content-Length: {len(body or b'')}", *more]
    head, _, rest = exchange(port, "\r\n".join([*lines, "", ""]).encode() + (body or b"")).partition(b"\r\n\r\n")
    return int(head.split()[1]), rest


def ask(port: int, query: str) -> tuple[int, bytes]:
    return request(port, "/graphql", json.dumps({"query": query}).encode())


def test_what_the_ui_does(port: int) -> None:
    assert request(port, "/")[0] == 200
    assert request(port, "/runs/some-run")[0] == 200
    assert request(port, "/server_info")[0] == 200
    status, body = ask(port, "{ version }")
    assert (status, json.loads(body)) == (200, {"data": {"version": dg.__version__}})
    status, body = ask(port, get_introspection_query())
    assert status == 200
    assert len(json.loads(body)["data"]["__schema"]["types"]) > 500


def test_a_query_of_100_000_aliases_is_told_so_at_once(port: int) -> None:
    status, body = ask(port, "{" + " ".join(f"a{n}: version" for n in range(100_000)) + "}")
    assert status == 400
    assert body.startswith(b"Refused: a GraphQL query has")


@pytest.mark.parametrize(
    "target",
    [
        "/logs/../../etc/passwd.out",
        "/logs/%2e%2e/%2e%2e/etc/passwd.out",
        "/logs/..%2f..%2fetc%2fpasswd.out",
        "/logs//etc/passwd.out",
        "/logs/%2fetc%2fpasswd.out",
        "/logs/%252e%252e/%252e%252e/etc/passwd.out",
        "/logs/a%00b.out",
        "/logs/..",
        "/_next/../../webserver.py",
        "/_next/%2e%2e/%2e%2e/webserver.py",
        "/notebook?repoLocName=a&path=../../x.ipynb",
        "/download_debug/..%2f..%2fx",
        "/logs/" + "a" * 300 + "/out",
        "/logs/a",
        "/logs/",
        "/logs/a/b/c.out",
    ],
)
def test_an_address_that_leads_elsewhere(port: int, target: str) -> None:
    assert 400 <= request(port, target)[0] < 500


def test_a_page_on_another_port(port: int) -> None:
    assert request(port, "/", None, f"Origin: http://127.0.0.1:{port}")[0] == 200
    assert request(port, "/", None, "Origin: http://127.0.0.1:1")[0] == 403


@pytest.mark.parametrize("sent", [b"", b"G", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nA: "])
def test_a_head_that_does_not_end(port: int, sent: bytes) -> None:
    assert exchange(port, sent) == b""


def test_a_head_that_comes_in_drops(port: int) -> None:
    """Every byte of it is activity, and counts as none."""
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: ")
        with pytest.raises(ConnectionError):
            all(connection.send(b"a") and time.sleep(SECONDS / 10) is None for _ in range(200))


def test_a_second_head_that_does_not_end(port: int) -> None:
    first = f"GET /server_info HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
    assert exchange(port, first + b"GET / HT").count(b"HTTP/1.1 200 OK") == 1
    assert exchange(port, first * 2 + b"GET / HT").count(b"HTTP/1.1 200 OK") == 2


def test_a_body_that_does_not_end(port: int) -> None:
    head = f"POST /graphql HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    assert exchange(port, f"{head}Content-Length: 100\r\n\r\n{{".encode()).startswith(b"HTTP/1.1 408 ")


def test_a_request_in_two_parts_is_answered(port: int) -> None:
    with closing(socket.create_connection(("127.0.0.1", port))) as connection:
        connection.sendall(b"GET /server_info HTTP/1.1\r\nHo")
        time.sleep(SECONDS / 5)
        connection.sendall(f"st: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        assert connection.recv(1 << 16).startswith(b"HTTP/1.1 200 OK")


def test_a_websocket_outlives_the_deadline_of_its_head_and_ends_at_a_large_query(port: int) -> None:
    url = f"ws://127.0.0.1:{port}/graphql"
    with pytest.raises(InvalidStatus), connect(url, origin="http://evil.example"):  # type: ignore[arg-type]
        raise AssertionError
    with connect(url, subprotocols=["graphql-ws"], open_timeout=30) as websocket:  # type: ignore[list-item]
        time.sleep(2 * SECONDS)
        websocket.send(json.dumps({"type": "connection_init"}))
        assert json.loads(websocket.recv(30)) == {"type": "connection_ack"}
        query = "{" + " ".join(f"a{n}: version" for n in range(1000)) + "}"
        websocket.send(json.dumps({"type": "start", "id": "1", "payload": {"query": query}}))
        with pytest.raises(ConnectionClosed, match="1008"):
            websocket.recv(30)
