"""The advice names the line, the wait and the cure, whatever the case."""

from __future__ import annotations

from dataclasses import replace

import pytest

from backstay.leak import Witness
from backstay.leak._advice import advice

WITNESS = Witness(
    task_name="create.<locals>.notify",
    born=0.0,
    age=9.0,
    owner="request POST /orders",
    owner_kind="request",
    owner_state="ended",
    owner_number=1,
    trace_id="abc",
    orphan_for=8.0,
    overdue_for=None,
    undead_for=None,
    cancel_by=None,
    cancel_for=None,
    waits_for="http response",
    wait_kind="http",
    wait_detail="",
    await_site="/app/clients.py:52",
)


@pytest.mark.parametrize("verdict", ["GROWING", "ORPHAN", "OVERDUE", "UNDEAD"])
@pytest.mark.parametrize("backing", ["ended", "shared", "own"])
@pytest.mark.parametrize("growing", [True, False])
def test_every_case_names_line_and_wait(verdict, backing, growing: bool) -> None:
    """Whatever the verdict, the reader learns which line, and what its tasks wait for."""
    text = advice(verdict, WITNESS, "app/orders.py:88", growing=growing, backing=backing)
    assert "app/orders.py:88" in text
    assert "http response at /app/clients.py:52" in text
    assert text.endswith(".")


def test_a_growing_wait_for_the_network_needs_a_deadline() -> None:
    """The cure at the await site fits what is waited for."""
    text = advice("GROWING", WITNESS, "x.py:1", growing=True, backing="ended")
    assert "backstay.timeout(2.0)" in text
    assert "scope.go(notify, ...)" in text


def test_a_wait_of_no_known_kind_gets_no_invented_cure() -> None:
    """Without a rule for the wait the advice stops at the owner."""
    odd = replace(WITNESS, wait_kind="", waits_for="", await_site="")
    text = advice("GROWING", odd, "x.py:1", growing=True, backing="ended")
    assert "At the await site" not in text
    assert "They are alive." in text


def test_an_ignored_cancel_is_told_with_its_asker() -> None:
    """Who asked, how long ago, and where to look."""
    deaf = replace(WITNESS, cancel_by="scope 'order': timeout", cancel_for=12.4)
    text = advice("OVERDUE", deaf, "x.py:1", growing=False, backing="own")
    assert "asked to end 12 s ago by scope 'order': timeout" in text


@pytest.mark.parametrize(
    ("kind", "cure"),
    [
        ("task", "that one decides"),
        ("executor", "timeout of its own"),
        ("timer", "swallows CancelledError"),
    ],
)
def test_who_does_not_end_is_told_why_that_may_be(kind: str, cure: str) -> None:
    """The cure of UNDEAD follows what the task waits for: a task, a thread, or its own code."""
    deaf = replace(WITNESS, wait_kind=kind, cancel_by="task 'closer'", cancel_for=31.0)
    text = advice("UNDEAD", deaf, "x.py:1", growing=False, backing="own")
    assert cure in text
    assert "asked to end 31 s ago by task 'closer'" in text


def test_unowned_tasks_are_called_so() -> None:
    """Without an owner there is no owner's kind to speak of."""
    free = replace(WITNESS, owner="", owner_kind="", owner_state="", owner_number=0)
    text = advice("GROWING", free, "x.py:1", growing=True, backing="shared")
    assert "have no owner" in text
