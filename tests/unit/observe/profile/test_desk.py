"""Errands for profiles: Go's errors, one of a kind at a time, and an end when nobody waits."""

from __future__ import annotations

import threading
from typing import Any

import pytest

from backstay.observe.desk import Errand, Reply, Request, Wait
from backstay.observe.profile import Desk, Profile, from_pprof
from backstay.observe.profile._asked import Asked, Refused
from backstay.observe.profile._desk import Kind

EMPTY = Profile((("tasks", "count"),), comments=("hello",))


def desk(collect: Any = lambda asked, wait: EMPTY, longest_s: float = 30.0) -> Desk:
    return Desk((Kind("task", "all <tasks>", collect, longest_s, ("goroutine",)),))


def made(order: Reply | Errand) -> Reply:
    """Carry an order out, and wait for its reply."""
    assert isinstance(order, Errand)
    delivered: list[Reply] = []
    arrived = threading.Event()

    def deliver(reply: Reply) -> None:
        delivered.append(reply)
        arrived.set()

    order.start(deliver)
    assert arrived.wait(5)
    return delivered[0]


def refused(order: Reply | Errand) -> tuple[int, str]:
    assert isinstance(order, Reply)
    assert ("X-Go-Pprof", "1") in order.headers
    assert order.content_type.startswith("text/plain")
    return order.status, order.body.decode()


@pytest.mark.parametrize("path", ["/debug/pprof", "/debug/pprof/"])
def test_the_index_lists_what_there_is(path: str) -> None:
    """A page without scripts, with a link for each kind."""
    page = desk().answer(Request(path, {}))
    assert isinstance(page, Reply)
    assert page.status == 200
    assert b'<a href="task?debug=1">task</a></td><td>all &lt;tasks&gt;' in page.body
    assert ("Content-Security-Policy", "default-src 'none'") in page.headers


@pytest.mark.parametrize("name", ["task", "goroutine"])
def test_a_profile_is_a_file_or_text(name: str) -> None:
    """Without debug a gzipped pprof file to download, with it text."""
    file = made(desk().answer(Request(f"/debug/pprof/{name}", {})))
    assert (file.status, file.content_type) == (200, "application/octet-stream")
    assert ("Content-Disposition", 'attachment; filename="' + name + '.pb.gz"') in file.headers
    assert from_pprof(file.body) == EMPTY
    text = made(desk().answer(Request(f"/debug/pprof/{name}", {"debug": "1"})))
    assert text.content_type == "text/plain; charset=utf-8"
    assert text.body == b"task profile: total 0\n# hello\n"


def test_a_delta_profile_has_another_file_name() -> None:
    """As Go names it."""
    reply = made(desk().answer(Request("/debug/pprof/task", {"seconds": "2"})))
    assert ("Content-Disposition", 'attachment; filename="task-delta.pb.gz"') in reply.headers


@pytest.mark.parametrize(
    ("name", "query", "status", "says"),
    [
        ("nothing", {}, 404, "Unknown profile: there are task"),
        ("task", {"seconds": "0"}, 400, "invalid value for seconds"),
        ("task", {"seconds": "-1"}, 400, "invalid value for seconds"),
        ("task", {"seconds": "x"}, 400, "invalid value for seconds"),
        ("task", {"seconds": "nan"}, 400, "invalid value for seconds"),
        ("task", {"seconds": "31"}, 400, "up to 30"),
        ("task", {"seconds": "1", "debug": "1"}, 400, "seconds and debug params are incompatible"),
        ("task", {"debug": "3"}, 400, "invalid value for debug"),
        ("task", {"debug": "x"}, 400, "invalid value for debug"),
        ("task", {"rate": "0"}, 400, "invalid value for rate"),
        ("task", {"frames": "1000"}, 400, "invalid value for frames"),
    ],
)
def test_what_go_refuses_is_refused(
    name: str, query: dict[str, str], status: int, says: str
) -> None:
    """With the status that Go has for it, and the header that makes `go tool pprof` show the reason."""
    code, reason = refused(desk().answer(Request(f"/debug/pprof/{name}", query)))
    assert code == status
    assert says in reason


def test_one_of_a_kind_at_a_time() -> None:
    """The second one gets 409 at once; when the first one is done, there is room again."""
    go_on = threading.Event()

    def slow(asked: Asked, wait: Wait) -> Profile:
        go_on.wait(5)
        return EMPTY

    one = desk(slow)
    first = one.answer(Request("/debug/pprof/task", {}))
    status, reason = refused(one.answer(Request("/debug/pprof/goroutine", {})))
    assert (status, "another task profile" in reason) == (409, True)
    go_on.set()
    assert made(first).status == 200
    assert made(one.answer(Request("/debug/pprof/task", {}))).status == 200


def test_an_abandoned_order_ends_and_delivers_nothing() -> None:
    """The wait of the collector returns at once, and the place is free again."""
    ended = threading.Event()

    def waits(asked: Asked, wait: Wait) -> Profile:
        assert wait(30)
        return EMPTY

    one = desk(waits)
    order = one.answer(Request("/debug/pprof/task", {"seconds": "30"}))
    assert isinstance(order, Errand)
    order._done, free = ended.set, order._done
    delivered: list[Reply] = []
    order.abandon()
    order.start(delivered.append)
    assert ended.wait(5)
    free()
    assert delivered == []
    assert isinstance(one.answer(Request("/debug/pprof/task", {})), Errand)


def test_errors_are_told_and_end_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """A profile that cannot be had says why; one that fails is logged and says so."""

    def cannot(asked: Asked, wait: Wait) -> Profile:
        raise Refused(503, "no loop runs")

    assert refused(made(desk(cannot).answer(Request("/debug/pprof/task", {})))) == (
        503,
        "no loop runs\n",
    )

    def fails(asked: Asked, wait: Wait) -> Profile:
        raise ValueError("odd")

    one = desk(fails)
    assert (
        refused(made(one.answer(Request("/debug/pprof/task", {}))))[1]
        == "profile-task failed: ValueError: odd\n"
    )
    assert "profile-task could not be made" in caplog.text
    assert isinstance(one.answer(Request("/debug/pprof/task", {})), Errand)


def test_no_thread_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process at its limit of threads answers 503, and the place is free again."""

    def full(thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    one = desk()
    order = one.answer(Request("/debug/pprof/task", {}))
    monkeypatch.setattr(threading.Thread, "start", full)
    status, reason = refused(made(order))
    assert (status, "no thread" in reason) == (503, True)
    assert isinstance(one.answer(Request("/debug/pprof/task", {})), Errand)
