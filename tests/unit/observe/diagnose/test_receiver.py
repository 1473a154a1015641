"""The receiver of webhooks, over loopback, with whatever may be sent there."""

from __future__ import annotations

import http.client
import json
import socket
from collections.abc import Iterator
from contextlib import ExitStack, closing

import pytest

from backstay.errors import UsageError
from backstay.observe.diagnose import Alert, AlertReceiver
from backstay.observe.diagnose import _receiver as module
from backstay.observe.diagnose._queue import Full

JSON = {"Content-Type": "application/json"}
MESSAGE = json.dumps({"alerts": [{"labels": {"alertname": "A"}}]})


class Taken(list[Alert]):
    """Takes alerts, or has no room."""

    full = False

    def __call__(self, alerts: list[Alert]) -> int:
        if self.full:
            raise Full
        self.extend(alerts)
        return len(alerts)


@pytest.fixture
def taken() -> Taken:
    return Taken()


@pytest.fixture
def receiver(taken: Taken) -> Iterator[AlertReceiver]:
    with AlertReceiver("127.0.0.1", 0, taken, token="a secret word of ours") as opened:
        yield opened


def port_of(receiver: AlertReceiver) -> int:
    return int(receiver.address.rpartition(":")[2].partition("/")[0])


def ask(
    receiver: AlertReceiver, method: str, path: str, body: str | None, headers: dict[str, str]
) -> int:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(receiver), timeout=5)
    with closing(connection):
        connection.request(method, path, body, headers)
        reply = connection.getresponse()
        json.loads(reply.read())
        return reply.status


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status"),
    [
        ("GET", "/healthz", None, {}, 200),
        ("GET", "/", None, {}, 404),
        ("POST", "/other", MESSAGE, JSON, 404),
        ("POST", "/alerts", MESSAGE, JSON, 202),
        ("POST", "/alerts", MESSAGE, {**JSON, "Authorization": "Bearer wrong"}, 401),
        ("POST", "/alerts", MESSAGE, {**JSON, "Authorization": "Bearer \xe4"}, 401),
        ("POST", "/alerts", MESSAGE, {"Content-Type": "text/plain"}, 415),
        ("POST", "/alerts", "", {**JSON, "Content-Length": "9999999"}, 413),
        ("POST", "/alerts", "", {**JSON, "Content-Length": "-1"}, 413),
        ("POST", "/alerts", "{", JSON, 400),
        ("POST", "/alerts", "[" * 100_000, JSON, 400),
        ("POST", "/alerts", "\xff", JSON, 400),
        ("POST", "/alerts", "[1]", JSON, 400),
        ("POST", "/alerts", '{"alerts": [1]}', JSON, 400),
    ],
)
def test_what_is_answered(
    method: str,
    path: str,
    body: str | None,
    headers: dict[str, str],
    status: int,
    receiver: AlertReceiver,
    taken: Taken,
) -> None:
    """A document and a status for everything; alerts are taken with the token only."""
    word = {"Authorization": "Bearer a secret word of ours"} if method == "POST" else {}
    assert ask(receiver, method, path, body, {**word, **headers}) == status
    assert len(taken) == (status == 202)


def test_no_room_is_told_so_that_it_is_sent_again(receiver: AlertReceiver, taken: Taken) -> None:
    """503; Alertmanager tries again."""
    taken.full = True
    headers = {**JSON, "Authorization": "Bearer a secret word of ours"}
    assert ask(receiver, "POST", "/alerts", MESSAGE, headers) == 503


def test_others_reach_it_with_a_token_only() -> None:
    """Loopback needs none."""
    for host in ("0.0.0.0", "::", "example.org"):
        with pytest.raises(UsageError, match="give a token with --token-file"):
            AlertReceiver(host, 0, len)


def test_a_port_in_use_is_a_wrong_use(receiver: AlertReceiver) -> None:
    """The error names the flag."""
    with pytest.raises(UsageError, match="choose another port with --listen"):
        AlertReceiver("127.0.0.1", port_of(receiver), len)


def test_slow_and_many_clients_are_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever sends nothing is let go; beyond eight at once nobody is served, and then all are again."""
    monkeypatch.setattr(module, "CUT_S", 0.2)
    with AlertReceiver("127.0.0.1", 0, len) as receiver, ExitStack() as stack:
        address = "127.0.0.1", port_of(receiver)
        slow = [stack.enter_context(socket.create_connection(address, timeout=5)) for _ in range(9)]
        assert slow[-1].recv(1) == b"", "the ninth is turned away at once"
        for one in slow[:-1]:
            assert one.recv(1) == b""
        assert ask(receiver, "POST", "/alerts", MESSAGE, JSON) == 202


def test_a_body_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """Within the time for a body, with a status."""
    monkeypatch.setattr(module, "BODY_TIMEOUT_S", 0.1)
    with AlertReceiver("127.0.0.1", 0, len) as receiver:
        address = "127.0.0.1", port_of(receiver)
        with socket.create_connection(address, timeout=5) as client:
            client.sendall(
                b"POST /alerts HTTP/1.1\r\nContent-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
            )
            client.shutdown(socket.SHUT_WR)
            assert client.recv(99).startswith(b"HTTP/1.0 408")
