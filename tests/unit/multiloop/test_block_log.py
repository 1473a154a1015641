"""The lines in the log."""

from __future__ import annotations

import pytest

from backstay._base import BlockRecord, use_clock
from backstay.multiloop import BlockLog
from backstay.testing import VirtualClock


def block(
    site: str = "app.py:3", *, started: float = 1.0, lasted: float = 0.25, ended: bool = True
) -> BlockRecord:
    return BlockRecord(site, "parse", lasted, started, ended=ended)


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    found = [record.getMessage() for record in caplog.records if record.name == "backstay.sysmon"]
    caplog.clear()
    return found


def test_one_line_says_how_long_and_where(caplog: pytest.LogCaptureFixture) -> None:
    """When it is over, with the task and its owner if there are any."""
    log = BlockLog()
    log(block(ended=False, lasted=0.1))
    assert lines(caplog) == []
    log(block())
    assert lines(caplog) == ["the event loop was blocked for 0.25 s by parse at app.py:3"]
    log(BlockRecord("b.py:1", "f", 0.2, 2.0, task="Task-3", owner_path=("main", "GET /")))
    assert lines(caplog) == [
        "the event loop was blocked for 0.20 s by f at b.py:1, in task 'Task-3' of main/GET /"
    ]


def test_a_long_one_is_told_while_it_lasts_and_then_no_more(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """A loop that never comes back must not go unsaid."""
    log = BlockLog()
    log(block(ended=False, lasted=1.0))
    assert lines(caplog) == ["the event loop has been blocked for 1.00 s by parse at app.py:3"]
    log(block(ended=False, lasted=2.0))
    log(block(lasted=2.5))
    assert lines(caplog) == []


def test_lines_are_few_and_the_rest_is_counted(caplog: pytest.LogCaptureFixture) -> None:
    """One for a site, five in all, within ten seconds."""
    clock = VirtualClock()
    with use_clock(clock):
        log = BlockLog()
        for _ in range(3):
            log(block())
        for site in range(10):
            log(block(f"x.py:{site}"))
        assert len(lines(caplog)) == 5
        clock.advance(10.0)
        log(block())
        assert lines(caplog) == [
            "the event loop was blocked for 0.25 s by parse at app.py:3 (6 more not shown)"
        ]
