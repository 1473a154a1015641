"""The report as a page and as a document, and what it says when it cannot know."""

from __future__ import annotations

import asyncio
import json
import threading

import pytest

from backstay import Scope, install
from backstay.errors import UsageError
from backstay.leak import Report, Sampler, report
from backstay.leak import _sampler as sampler_file
from backstay.tasks import uninstall


async def sleep_for(seconds: float) -> None:
    await asyncio.sleep(seconds)


async def leak_for(seconds: int) -> Sampler:
    """A service with one leaking line, sampled each second."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    for k in range(seconds):
        for n in range(20):
            async with Scope("POST /orders", kind="request", trace_id=f"{k:04}-{n}"):
                asyncio.create_task(sleep_for(1e6))
        await asyncio.sleep(1)
        sampler.sample()
    return sampler


def cancel_all() -> None:
    for task in asyncio.all_tasks():
        if task is not asyncio.current_task():
            task.cancel()


async def test_the_page_shows_rank_line_wait_owner_traces_and_cure() -> None:
    """Everything that the on-call engineer needs is on one page of readable width."""
    page = report(await leak_for(40)).to_text()
    head, _, rest = page.partition("\n")
    assert head == "backstay leaks · 801 tasks alive · 40 samples over 39 s · 1 finding"
    assert " 1  GROWING" in rest
    assert "+20.0/s" in rest
    assert "in leak_for()" in rest
    for label in ("task ", "waits for ", "owner ", "traces ", "why ", "do "):
        assert f"\n   {label}" in rest
    assert "request POST /orders" in rest
    assert "0000-" in rest
    assert "cannot be judged" not in rest
    assert max(len(line) for line in page.splitlines() if "test_report" not in line) <= 124
    cancel_all()


async def test_the_document_is_plain_json_with_the_fields_of_a_finding() -> None:
    """The admin plane sends this document; each finding has the fields that the design names."""
    document = json.loads(json.dumps(report(await leak_for(30)).to_json()))
    assert document["format"] == 1
    assert (document["samples"], document["span_s"], document["interval_s"]) == (30, 29.0, 1.0)
    assert document["growth"] == "judged"
    assert document["growth_needs_s"] == 0.0
    assert document["tasks"] == 601
    assert document["started_at"] <= document["taken_at"]
    (finding,) = document["findings"]
    assert {
        "verdict", "count", "task_name", "site", "function", "owner", "age", "blocked_on",
        "held_by", "trace_ids", "advice", "impact", "detail",
    } <= set(finding)  # fmt: skip
    assert isinstance(finding["trace_ids"], list)
    assert isinstance(finding["detail"], list)
    busiest = document["busiest"][0]
    assert (busiest["alive"], busiest["movement"]) == (600, "growing")
    cancel_all()


async def test_without_a_sampler_orphans_are_found_and_growth_is_said_to_be_unknown() -> None:
    """ORPHAN needs no past; GROWING does, and the page says what is missing."""
    async with Scope("job", kind="job"):
        asyncio.create_task(sleep_for(1e6), name="stray")
    await asyncio.sleep(9)
    seen = report()
    assert [(one.verdict, one.count, one.task_name) for one in seen.findings] == [
        ("ORPHAN", 1, "stray")
    ]
    assert (seen.samples, seen.started_at, seen.interval_s) == (0, None, None)
    page = seen.to_text()
    assert "Growth cannot be judged yet: no sampler is running" in page
    assert "none known" in page
    assert "1 finding" in page.splitlines()[0]
    cancel_all()


async def test_too_few_samples_say_how_much_longer_it_takes() -> None:
    """Ten of 25 samples: the page names both numbers and the seconds that are missing."""
    seen = report(await leak_for(10))
    assert seen.growth_needs_s == pytest.approx(15.0)
    page = seen.to_text()
    assert "Growth cannot be judged yet: 10 samples over 9 s" in page.replace("\n", " ")
    assert "about 15 s more" in page.replace("\n", " ")
    cancel_all()


async def test_a_sampler_without_samples_says_why() -> None:
    """Before the first sample, or when it failed, the reason is shown instead of a number."""
    sampler = Sampler(asyncio.get_running_loop())
    assert report(sampler).growth == "no sample has been taken yet"
    sampler._last_error = "RuntimeError: boom"
    assert report(sampler).growth.endswith("the last look failed: RuntimeError: boom")


async def test_an_innocent_service_is_told_so_with_its_largest_sites() -> None:
    """No finding is an answer too, and where most tasks come from is the next question."""
    sampler = Sampler(asyncio.get_running_loop(), 1.0)
    async with Scope("app", kind="app", on_exit="cancel") as app:
        for _ in range(5):
            app.go(sleep_for, 1e6)
        for _ in range(30):
            await asyncio.sleep(1)
            sampler.sample()
        page = report(sampler).to_text()
        assert "Nothing to accuse" in page
        assert "[steady]" in page
        assert "no findings" in page.splitlines()[0]
        young = report().to_text()
        assert "[" not in young.split("Most tasks come from:")[1].split("Growth")[0]


async def test_our_own_tasks_are_counted_and_not_accused(monkeypatch) -> None:
    """A Backstay line that leaks would be our bug to find in our tests, not a finding of the user's."""
    from backstay.leak import _places

    async with Scope("job", kind="job"):
        asyncio.create_task(sleep_for(1e6))
    await asyncio.sleep(9)
    assert len(report().findings) == 1
    monkeypatch.setattr(_places, "_HOUSE", __file__)
    seen = report()
    assert seen.findings == ()
    assert seen.tasks == 2
    cancel_all()


def test_two_loops_need_to_be_told_apart() -> None:
    """Outside a loop, with two tracked loops or none, the call says what it needs."""
    with pytest.raises(UsageError, match=r"0 tracked loops.*install"):
        report()
    loops = [asyncio.new_event_loop(), asyncio.new_event_loop()]
    for loop in loops:
        install(loop)
    with pytest.raises(UsageError, match=r"2 tracked loops.*pass loop="):
        report()
    assert report(loop=loops[0]).tasks == 0
    assert "Most tasks come from" not in report(loop=loops[0]).to_text()
    uninstall(loops[1])
    assert report().tasks == 0
    for loop in loops:
        uninstall(loop)
        loop.close()


@pytest.mark.real_loop
async def test_it_answers_from_a_thread_while_the_loop_is_blocked() -> None:
    """The admin plane asks exactly then."""
    loop = asyncio.get_running_loop()
    install()
    seen: list[Report] = []
    thread = threading.Thread(target=lambda: seen.append(report(loop=loop)))
    thread.start()
    thread.join(10)
    assert seen[0].tasks == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(3.2, "3 s"), (119, "119 s"), (600, "10 min"), (9000, "2.5 h")]
)
def test_times_are_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    """Nobody wants to read 9000 s at night."""
    from backstay.leak import _report

    assert _report._span(seconds) == text


def test_slow_leaks_are_told_per_hour() -> None:
    """+0.0/s would hide a leak of 36 an hour."""
    from backstay.leak import _report

    assert _report._pace(0.01) == "+36.0/h"
    assert _report._pace(81.2) == "+81.2/s"
    assert _report._tail("abcdefgh", 4) == "…fgh"
    assert _report._count(2) == "2 findings"
    assert sampler_file.Sampler is Sampler
