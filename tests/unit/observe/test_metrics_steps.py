"""Ready latency and step duration as histograms, where the flight recorder is on."""

from __future__ import annotations

import asyncio

import pytest
from prometheus_client.openmetrics import parser

from backstay.multiloop import Multiloop
from backstay.observe.metrics import Collector, Page, _step_figures
from backstay.observe.metrics._step_figures import STEP_EDGES
from backstay.observe.readings import loop_kind, loop_name
from backstay.observe.recorder import Recorder
from backstay.tasks import install


def rows(collector: Collector) -> dict[tuple[str, tuple[str, ...]], float]:
    """Scrape, and read the text with the strict parser."""
    _, text = collector.scrape("application/openmetrics-text")
    return {
        (row.name, tuple(row.labels.values())): row.value
        for family in parser.text_string_to_metric_families(text.decode())
        for row in family.samples
    }


@pytest.mark.real_loop
@pytest.mark.parametrize("pure", [False, True])
async def test_steps_are_histograms_while_a_recorder_is_at_work(pure: bool) -> None:
    """Ready latency and step duration of each loop, cumulative and whole; absent without a recorder."""
    install()
    collector = Collector()
    assert not any("loop_step" in name for name, _ in await asyncio.to_thread(rows, collector))
    with Recorder(pure=pure) as recorder:
        for _ in range(20):
            await asyncio.sleep(0)
        found = await asyncio.to_thread(rows, collector)
        said = recorder.statistics()
        name = loop_name(asyncio.get_running_loop())
    for kind in ("ready", "step"):
        buckets = [
            (float(label[1].replace("+Inf", "inf")), value)
            for (row, label), value in found.items()
            if row == f"backstay_loop_{kind}_seconds_bucket" and label[0] == name
        ]
        counts = [value for _, value in sorted(buckets)]
        assert len(counts) == len(STEP_EDGES) + 1
        assert counts == sorted(counts)
        count = found[f"backstay_loop_{kind}_seconds_count", (name,)]
        assert 20 <= count == counts[-1] <= said.steps
        assert 0 < found[f"backstay_loop_{kind}_seconds_sum", (name,)] < 60
    assert not any("loop_step" in row for row, _ in await asyncio.to_thread(rows, collector))


def test_counts_of_steps_fall_into_the_edges_that_they_fit_below() -> None:
    """Bucket n of the recorder ends at 2**(n+1) ns; each second one is an edge."""
    counts = [0] * 64
    counts[0], counts[9], counts[10], counts[11], counts[63] = 1, 2, 4, 8, 16
    spread = _step_figures._spread(counts, 12.5)
    page = Page()
    page.histogram("backstay_loop_step_seconds", "As counted.", spread, STEP_EDGES, loop="0")
    (family,) = page.families()
    told = {dict(row.labels).get("le", row.suffix): row.value for row in family.samples}
    assert told["1.024e-06"] == 3
    assert told["4.096e-06"] == 15
    assert told["17.179869184"] == 15
    assert told["+Inf"] == told["_count"] == 31
    assert told["_sum"] == 12.5


@pytest.mark.real_loop
async def test_loops_beyond_the_bound_are_one_row(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever makes a loop for each job, by mistake, does not fill the page."""
    install()
    monkeypatch.setattr(_step_figures, "_MOST_LOOPS", 0)
    with Recorder():
        await asyncio.sleep(0)
        found = await asyncio.to_thread(rows, Collector())
    names = {label[0] for row, label in found if row == "backstay_loop_step_seconds_count"}
    assert names == {"other"}


@pytest.mark.real_loop
async def test_a_loop_keeps_its_name() -> None:
    """A number that no other gets afterwards; in a multiloop its place."""
    mine = asyncio.get_running_loop()
    name = loop_name(mine)
    assert name.isdecimal()
    other = asyncio.new_event_loop()
    later = loop_name(other)
    assert int(later) > int(name)
    other.close()
    del other
    another = asyncio.new_event_loop()
    assert int(loop_name(another)) > int(later)
    another.close()
    assert loop_name(mine) == name
    assert loop_kind(mine) == "asyncio"
    async with Multiloop("pool", procs=2) as pool:
        assert [loop_name(one) for one in pool.loops] == ["pool-0", "pool-1"]
