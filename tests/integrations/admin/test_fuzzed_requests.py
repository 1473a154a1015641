"""Whatever is sent to the admin plane: an answer that says what was wrong, or a close, and it lives on.

The documents are not listed here: the plane is asked what it answers, so a new one is tried as well.
"""

from __future__ import annotations

import json
import resource
import threading
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from strange_requests import ENDINGS, LONG, PARAMETERS, VALUES, pieces, requests
from tested_plane import Plane, application, checked, plane, received

from backstay.observe.admin import _server as server_module

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]

TOKEN = "correct-horse-battery"


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Plane]:
    """Open a plane at a unix socket that may act, so that nothing is refused before it is read."""
    where = tmp_path_factory.mktemp("plane") / "a.sock"
    with (
        pytest.MonkeyPatch.context() as patch,
        application(),
        plane(where, patch, allow_actions=True) as found,
    ):
        yield found


@pytest.fixture(scope="module")
def remote() -> Iterator[Plane]:
    """Open a plane at a loopback address, with a token."""
    with pytest.MonkeyPatch.context() as patch, plane("127.0.0.1:0", patch, token=TOKEN) as found:
        yield found


many = settings(
    max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


def rss() -> int:
    """Return the most bytes that this process has ever had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def test_whatever_is_sent_it_is_answered_or_closed_and_the_plane_lives_on(local: Plane) -> None:
    """No traceback, no error of its own, no hang, no thread left, no memory, not a word in the log."""
    threads, before = threading.active_count(), rss()

    @many
    @given(st.data())
    def sent(data: st.DataObject) -> None:
        request = data.draw(requests(tuple(local.server.paths)))
        answer = local.talk(data.draw(pieces(request)), data.draw(st.sampled_from(ENDINGS)))
        if answer:
            status, body = checked(answer)
            assert status < 500 or status in (503, 505), body[:300]
        local.is_well()

    sent()
    local.is_at_rest(threads)
    # Profiles and dumps of a process that other tests have filled are large; what leaks with each request is more.
    assert rss() - before < 400 * 1024 * 1024


def test_whatever_is_sent_to_a_plane_with_a_token_gets_nothing(remote: Plane) -> None:
    """Without the token no document leaves it, however the question is put."""
    threads = threading.active_count()
    open_ones = (b'{"alive"', b'{"ready"')

    @many
    @given(st.data())
    def sent(data: st.DataObject) -> None:
        request = data.draw(requests(tuple(remote.server.paths)))
        answer = remote.talk(data.draw(pieces(request)), data.draw(st.sampled_from(ENDINGS)))
        if answer:
            status, body = checked(answer)
            page = b"<!doctype html" in body or body.startswith((b":root", b"@")) or not body
            assert status >= 400 or page or body.startswith(open_ones), body[:300]
        remote.is_well()

    sent()
    remote.is_at_rest(threads)


def test_no_document_stumbles_over_a_parameter(local: Plane) -> None:
    """Each document with each parameter, at strange values in turn: understood, or refused in a sentence."""
    turn = 0
    for path in local.server.paths:
        for name in PARAMETERS:
            turn += 7  # no divisor of how many values there are, so that each meets each in the end
            value = VALUES[turn % len(VALUES)]
            if name != "seconds" or value in LONG:
                value = f"{value}&seconds=0.01"
            status, body = local.get(f"{path}?{name}={value}"[:8000])
            assert status < 500 or status == 503, (path, name, value, body[:300])
    local.is_well()


def test_every_document_answers_a_good_question(local: Plane) -> None:
    """The list that the plane gives of itself is true: nothing in it is unknown, most of it is there."""
    known = local.server.paths
    assert {"/v1/ps", "/v1/now", "/v1/probes", "/v1/timeline", "/debug/pprof/heap", "/ui/"} <= set(
        known
    )
    for path in known:
        status, body = local.get(f"{path}?seconds=1&kind=task&id=1")
        told = json.loads(body)["error"] if status == 404 else ""
        assert status in (200, 303, 404, 503), (path, body[:300])
        assert "there are" not in told, path  # what there is none of may be a number in it


def test_slow_and_silent_clients_hold_nobody_up(
    local: Plane, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who says nothing, or a byte now and then, is let go in time, and others are served meanwhile."""
    monkeypatch.setattr(server_module, "READ_TIMEOUT_S", 1.5)
    threads = threading.active_count()
    slow = [local.connect() for _ in range(20)]
    try:
        for turn in range(5):
            for sock in slow[::2]:
                sock.sendall(b"GET /livez HTTP/1.1"[turn : turn + 1])
            local.is_well()
            threading.Event().wait(0.1)
        assert all(b" 408 " in received(sock) for sock in slow[::2])
        assert all(received(sock) == b"" for sock in slow[1::2])
    finally:
        for sock in slow:
            sock.close()
    local.is_at_rest(threads)
