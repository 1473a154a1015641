"""The readiness flag."""

from __future__ import annotations

from backstay.lifecycle import Readiness


def test_it_begins_not_ready_and_can_come_and_go() -> None:
    """Starting, ready, unwell, ready again; each with its reason."""
    readiness = Readiness()
    assert (readiness.ready, readiness.reason) == (False, "starting")
    readiness.succeed()
    assert (readiness.ready, readiness.reason) == (True, "ready")
    readiness.fail("database away")
    assert (readiness.ready, readiness.reason) == (False, "database away")
    readiness.succeed()
    assert readiness.ready
    assert repr(readiness) == "<Readiness ready>"


def test_draining_is_for_good() -> None:
    """A process that has begun to end is not talked back into service."""
    readiness = Readiness()
    readiness.drain("draining")
    readiness.succeed()
    readiness.fail("something else")
    assert (readiness.ready, readiness.draining, readiness.reason) == (False, True, "draining")


def test_others_may_hold_it_back() -> None:
    """Ready when it has started and nobody holds it; each has a reason of its own."""
    readiness = Readiness()
    readiness.hold("health", "database down")
    assert readiness.reason == "starting"
    readiness.succeed()
    assert (readiness.ready, readiness.reason) == (False, "database down")
    readiness.hold("cache", "cold")
    assert readiness.reason == "database down; cold"
    readiness.release("health")
    readiness.release("health")
    assert (readiness.ready, readiness.reason) == (False, "cold")
    readiness.release("cache")
    assert readiness.ready
    readiness.drain("draining")
    readiness.hold("cache", "cold")
    readiness.release("cache")
    assert (readiness.ready, readiness.reason) == (False, "draining")


def test_changes_are_told_once_each() -> None:
    """Listeners hear of what has changed, and of nothing else; one that fails disturbs nobody."""
    readiness = Readiness()
    heard: list[str] = []

    def fail() -> None:
        raise OSError("deaf")

    readiness.on_change(fail)
    end = readiness.on_change(lambda: heard.append(f"{readiness.reason} {readiness.draining}"))
    readiness.succeed()
    readiness.succeed()
    readiness.hold("cache", "cold")
    readiness.release("cache")
    readiness.drain("the end")
    readiness.fail("late")
    end()
    readiness.drain("again")
    assert heard == ["ready False", "cold False", "ready False", "the end True"]
