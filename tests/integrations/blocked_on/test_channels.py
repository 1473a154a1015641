"""A task that waits at a channel says so, and names the channel."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest

from backstay.channels import Channel, RecvOnly, after, select

from .conftest import Classify


async def iterate(source: RecvOnly[int]) -> None:
    async for _ in source:
        pass


RECEIVES: dict[str, Any] = {
    "recv": lambda channel: channel.recv(),
    "recv2": lambda channel: channel.recv2(),
    "recv_many": lambda channel: channel.recv_many(3),
    "iteration": iterate,
    "recv of a view": lambda channel: channel.recv_only.recv(),
    "iteration of a view": lambda channel: iterate(channel.recv_only),
}


@pytest.mark.parametrize("shared", [False, True], ids=["one loop", "shared"])
@pytest.mark.parametrize("way", RECEIVES)
def test_every_way_to_receive_is_a_channel_recv(classify: Classify, way: str, shared: bool) -> None:
    """The channel's name and fill stand in the detail."""

    async def scenario(_: AsyncExitStack) -> None:
        await RECEIVES[way](Channel(8, name="jobs", shared=shared))

    seen = classify(scenario, "channel recv")
    assert seen.kind == "channel"
    assert seen.detail == "jobs: 0 of 8 items, 1 receiver"
    assert __file__ in seen.site


@pytest.mark.parametrize("shared", [False, True], ids=["one loop", "shared"])
def test_a_send_that_finds_no_room_is_a_channel_send(classify: Classify, shared: bool) -> None:
    """A full buffer shows in the detail."""

    async def scenario(_: AsyncExitStack) -> None:
        channel: Channel[int] = Channel(1, name="jobs", shared=shared)
        channel.send_nowait(1)
        await channel.send(2)

    seen = classify(scenario, "channel send")
    assert (seen.kind, seen.detail) == ("channel", "jobs: 1 of 1 items, 1 sender")


@pytest.mark.parametrize("shared", [False, True], ids=["one loop", "shared"])
def test_a_select_names_its_cases(classify: Classify, shared: bool) -> None:
    """Sends and receives in their order; cases that are switched off are left out."""

    async def scenario(_: AsyncExitStack) -> None:
        jobs: Channel[int] = Channel(name="jobs", shared=shared)
        audit: Channel[int] = Channel(name="audit")
        await select(jobs, None, (audit.send_only, 1), after(60))

    seen = classify(scenario, "select")
    assert (seen.kind, seen.detail) == ("channel", "recv jobs, send audit, recv after(60)")


def test_a_wide_select_is_cut(classify: Classify) -> None:
    """Six cases are named, the others counted."""

    async def scenario(_: AsyncExitStack) -> None:
        await select(*[Channel(name=f"c{number}") for number in range(8)])

    detail = classify(scenario, "select").detail
    assert detail == "recv c0, recv c1, recv c2, recv c3, recv c4, recv c5, 2 more"


def test_a_select_of_nothing_says_so(classify: Classify) -> None:
    """It waits for ever, and the dump tells why."""

    async def scenario(_: AsyncExitStack) -> None:
        await select(None, (None, 1))

    assert classify(scenario, "select").detail == "no channel"
