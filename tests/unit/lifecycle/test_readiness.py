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
