"""The other doors into a process or out of it: the gate for browsers, and the receiver of alerts."""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange_requests import bodies, pieces, requests
from tested_plane import Plane, plane, received

from backstay.observe.diagnose import Alert, AlertReceiver
from backstay.observe.diagnose import _receiver as receiver_module
from backstay.observe.ui import Gate
from backstay.observe.ui import _gate as gate_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

many = settings(
    max_examples=100,
    suppress_health_check=[
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
        HealthCheck.function_scoped_fixture,
    ],
)


@pytest.fixture(scope="module")
def behind(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Open a plane that stands behind the gate."""
    with (
        pytest.MonkeyPatch.context() as patch,
        plane(tmp_path_factory.mktemp("plane") / "a.sock", patch) as found,
    ):
        yield found


def ask(port: int, parts: list[bytes], *, half: bool = False) -> bytes:
    """Send parts to a port on loopback, and return what comes back."""
    with socket.create_connection(("127.0.0.1", port)) as sock:
        sock.settimeout(20)
        with suppress(OSError):  # closed while we were talking
            for part in parts:
                sock.sendall(part)
            if half:
                sock.shutdown(socket.SHUT_WR)
        return received(sock)


def let_in(gate: Gate) -> bytes:
    """Visit the printed address, and return the cookie that it hands out."""
    path = gate.url.partition(str(gate.port))[2]
    head = f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{gate.port}\r\n\r\n"
    answer = ask(gate.port, [head.encode()])
    return answer.partition(b"Set-Cookie: ")[2].partition(b";")[0]


def test_whatever_comes_through_the_gate_it_stays_open(
    behind: Plane, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """A browser that was let in, or something that has its cookie, sends nonsense: answers, and no traceback."""
    monkeypatch.setattr(gate_module, "_READ_S", 0.15)
    threads = threading.active_count()
    with Gate(behind.server.address) as gate:
        cookie = let_in(gate)
        assert cookie.startswith(b"backstay_gate_")
        known = b"\r\nHost: 127.0.0.1:%d\r\nCookie: %s\r\n" % (gate.port, cookie)
        good = b"GET /livez HTTP/1.1" + known + b"\r\n"

        @many
        @given(st.data())
        def sent(data: st.DataObject) -> None:
            whole = data.draw(requests(tuple(behind.server.paths)))
            if data.draw(st.booleans()):
                whole = whole.replace(b"\r\n", known, 1)
            answer = ask(gate.port, data.draw(pieces(whole)), half=data.draw(st.booleans()))
            assert b"Traceback" not in answer[:100_000]
            assert b'{"alive":true' in ask(gate.port, [good])

        sent()
        for strange in (b"/v1/\xe9", b"//[x", b"//evil/ui/", b"http://evil/ui/", b"/v1/ps?\x01"):
            answer = ask(gate.port, [b"GET " + strange + b" HTTP/1.1" + known + b"\r\n"])
            assert answer.startswith((b"HTTP/1.0 40", b"HTTP/1.1 40")), strange
        until = time.monotonic() + 20
        while threading.active_count() > threads + 1:  # the gate's own
            assert time.monotonic() < until
            time.sleep(0.02)
    assert capfd.readouterr().err == ""
    behind.is_well()


def test_the_gate_has_so_many_threads_and_no_more(
    behind: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those who say nothing, or a byte now and then, are let go in time; one too many is told to come again."""
    monkeypatch.setattr(gate_module, "_READ_S", 1.0)
    before = threading.active_count()
    with Gate(behind.server.address) as gate:
        crowd = [socket.create_connection(("127.0.0.1", gate.port)) for _ in range(60)]
        try:
            began = time.monotonic()
            answers = 0
            while time.monotonic() - began < 0.6:
                for sock in crowd[:20]:
                    with suppress(OSError):
                        sock.sendall(b"G")
                assert threading.active_count() - before <= gate_module._MOST_AT_ONCE + 1
                time.sleep(0.1)
            for sock in crowd:
                sock.settimeout(10)
                with suppress(ConnectionResetError):
                    answers += b" 503 " in received(sock)
            assert answers >= 10  # all of the others, unless this machine was slow to connect
            assert time.monotonic() - began < 8
        finally:
            for sock in crowd:
                sock.close()


def test_whatever_is_sent_as_an_alert_the_receiver_lives_on(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    """Bodies that are no alerts, heads that are no requests: taken as alerts or refused in a sentence."""
    monkeypatch.setattr(receiver_module, "BODY_TIMEOUT_S", 0.2)
    monkeypatch.setattr(receiver_module._Handler, "timeout", 0.2)
    taken: list[Alert] = []

    def take(alerts: list[Alert]) -> int:
        taken.extend(alerts)
        return len(alerts)

    threads = threading.active_count()
    with AlertReceiver("127.0.0.1", 0, take) as receiver:
        port = int(receiver.address.rpartition(":")[2].partition("/")[0])
        paths = (*receiver_module.PATHS, "/healthz")

        @many
        @given(st.data())
        def sent(data: st.DataObject) -> None:
            whole = data.draw(requests(paths))
            answer = ask(port, data.draw(pieces(whole)), half=data.draw(st.booleans()))
            assert b"Traceback" not in answer
            body = data.draw(bodies)
            head = b"POST /alerts HTTP/1.1\r\nContent-Type: application/json\r\n"
            answer = ask(port, [head + b"Content-Length: %d\r\n\r\n" % len(body), body])
            status = answer.split(b" ")[1]
            assert status == b"202" or (status in (b"400", b"408") and b'"error"' in answer)
            assert b'"listening": true' in ask(port, [b"GET /healthz HTTP/1.1\r\n\r\n"])

        sent()
        until = time.monotonic() + 20
        while threading.active_count() > threads + 1:
            assert time.monotonic() < until
            time.sleep(0.02)
    assert all(isinstance(one, Alert) for one in taken)
    assert capfd.readouterr().err == ""


def test_a_token_is_not_told_to_whoever_put_a_socket_into_tmp(
    behind: Plane, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Asked by pid, the client looks whose socket it has found before it says a word."""
    from backstay.errors import TargetGone
    from backstay.observe.target import AdminClient, _client

    monkeypatch.setattr(_client, "known_sockets", lambda pid: [Path(behind.server.address)])
    heard = behind.server.statistics().answered
    assert AdminClient("1", token="").get("/livez")["alive"]
    monkeypatch.setattr(_client, "peer_of", lambda sock: (1, 4711))
    with pytest.raises(TargetGone, match="somebody pretends to be it"):
        AdminClient("1", token="correct-horse-battery").get("/livez")
    assert behind.server.statistics().answered == heard + 1
