"""Run the channels there are for Python, and ours, and write down what they really do.

    python scripts/channel_semantics.py            print the table
    python scripts/channel_semantics.py --write    put it into docs/explanation/channel-semantics.md
    python scripts/channel_semantics.py --check    exit 1 when the page says something else

Run it on Python 3.13, where `asyncio.Queue` can be shut down.
"""

# the peers are run as their users run them: by plain tasks

from __future__ import annotations

import argparse
import asyncio
import contextlib
import importlib.metadata
import inspect
import random
import re
import sys
import warnings
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT))

import aiochan  # noqa: E402
import asyncio_channel  # noqa: E402

from backstay import Channel, select  # noqa: E402
from benchmarks.channel_peers import PEERS, Peer  # noqa: E402

PAGE = ROOT / "docs" / "explanation" / "channel-semantics.md"
BEGIN, END = "<!-- table: scripts/channel_semantics.py -->", "<!-- end of table -->"
TRIES = 50
SELECTS = 2000

# What Go does, by its specification; there is nothing to run.
GO = ["yes", "yes", "panics", "panics", "panics", "cannot be cancelled", "50 %", "0"]
DISTRIBUTIONS = {"backstay": "", "asyncio.Queue": ""}


async def turns(count: int = 10) -> None:
    """Let everybody run who can."""
    for _ in range(count):
        await asyncio.sleep(0)


async def _closed(peer: Peer, pipe: Any) -> None:
    assert peer.close is not None
    result = peer.close(pipe)
    if inspect.isawaitable(result):
        await result


async def _within(waiting: Awaitable[Any]) -> tuple[str, Any]:
    """Await for a moment; return "value", "raises" or "waits"."""
    task = asyncio.ensure_future(_awaited(waiting))
    done, _ = await asyncio.wait([task], timeout=0.05)
    if not done:
        task.cancel()
        await asyncio.wait([task])
        return "waits", None
    if task.exception() is not None:
        return "raises", task.exception()
    return "value", task.result()


async def _awaited(waiting: Awaitable[Any]) -> Any:
    return await waiting


async def rendezvous(peer: Peer) -> str:
    """With capacity 0 a send returns when its item was taken."""
    if not peer.unbuffered:
        return "–"
    pipe = peer.make(0)
    sending = asyncio.ensure_future(_awaited(peer.send(pipe, 1)))
    await turns()
    waited = not sending.done()
    await peer.recv(pipe)
    await sending
    return "yes" if waited else "no"


async def drain(peer: Peer) -> str:
    """What is buffered can be received after the close, and then the end shows."""
    if peer.close is None:
        return "–"
    pipe = peer.make(4)
    for number in range(2):
        await peer.send(pipe, number)
    await _closed(peer, pipe)
    for number in range(2):
        if await _within(peer.recv(pipe)) != ("value", number):
            return "**loses items**"
    kind, value = await _within(peer.recv(pipe))
    return {"raises": "yes", "value": f"yes ({value})", "waits": "**waits for ever**"}[kind]


async def send_on_closed(peer: Peer) -> str:
    """A send to a closed channel."""
    if peer.close is None:
        return "–"
    pipe = peer.make(4)
    await _closed(peer, pipe)
    kind, value = await _within(peer.send(pipe, 1))
    return {"raises": "raises", "value": f"returns {value}", "waits": "**waits**"}[kind]


async def close_twice(peer: Peer) -> str:
    """The second close."""
    if peer.close is None:
        return "–"
    pipe = peer.make(4)
    await _closed(peer, pipe)
    try:
        await _closed(peer, pipe)
    except Exception:
        return "raises"
    return "silent"


async def close_with_blocked_sender(peer: Peer) -> str:
    """What a sender that waits learns of a close."""
    if peer.close is None:
        return "–"
    pipe = peer.make(1)
    await peer.send(pipe, 1)
    sending = asyncio.ensure_future(_awaited(peer.send(pipe, 2)))
    await turns()
    await _closed(peer, pipe)
    await asyncio.wait([sending], timeout=0.05)
    if sending.done():
        return "raises" if sending.exception() else f"returns {sending.result()}"
    await peer.recv(pipe)
    kind, value = await _within(peer.recv(pipe))
    sending.cancel()
    await asyncio.wait([sending])
    return "**stays blocked**" + (", its item arrives" if (kind, value) == ("value", 2) else "")


async def lost_items(peer: Peer) -> str:
    """An item is handed to a waiting receiver, which is cancelled in the same turn of the loop."""
    lost = 0
    for _ in range(TRIES):
        pipe = peer.make(1)
        receiving = asyncio.ensure_future(_awaited(peer.recv(pipe)))
        await turns()
        await _awaited(peer.send(pipe, "item"))
        receiving.cancel()
        await asyncio.wait([receiving])
        if receiving.cancelled():
            kind, value = await _within(peer.recv(pipe))
            lost += (kind, value) != ("value", "item")
        if peer.tidy is not None:
            await peer.tidy(pipe)
    return f"**{lost} of {TRIES}**" if lost else f"0 of {TRIES}"


Select = Callable[[list[Any]], Awaitable[int]]


async def _select_backstay(channels: list[Any]) -> int:
    return (await select(*channels)).index


async def _select_aiochan(channels: list[Any]) -> int:
    _, channel = await aiochan.select(*channels)
    return next(index for index, one in enumerate(channels) if one is channel)


async def _select_asyncio_channel(channels: list[Any]) -> int:
    _, channel = await asyncio_channel.complete_one(*channels)
    return next(index for index, one in enumerate(channels) if one is channel)


SELECTS_OF: dict[str, Select] = {
    "backstay": _select_backstay,
    "aiochan": _select_aiochan,
    "asyncio-channel": _select_asyncio_channel,
}


async def fairness(peer: Peer) -> str:
    """Both of two channels always have an item: how often is the first one chosen?"""
    chosen = SELECTS_OF.get(peer.name)
    if chosen is None:
        return "no select"
    channels = [peer.make(8), peer.make(8)]
    for channel in channels:
        await peer.send(channel, 1)
    first = 0
    for _ in range(SELECTS):
        index = await chosen(channels)
        first += index == 0
        await peer.send(channels[index], 1)
    share = 100 * first / SELECTS
    return f"{share:.0f} %" if 45 <= share <= 55 else f"**{share:.0f} %**"


def _size(thing: Any, seen: set[int], depth: int = 0) -> int:
    """Count the entries of all containers inside of a channel."""
    if id(thing) in seen or depth > 4 or isinstance(thing, str | bytes):
        return 0
    seen.add(id(thing))
    count = 0
    if hasattr(thing, "__len__") and hasattr(thing, "__iter__") and not isinstance(thing, Channel):
        with contextlib.suppress(Exception):
            entries = list(thing)
            count = len(entries)
            for entry in entries[:5]:
                count += _size(entry, seen, depth + 1)
    names = [*getattr(thing, "__dict__", ())]
    for kind in type(thing).__mro__:
        names += [name for name in getattr(kind, "__slots__", ()) if isinstance(name, str)]
    for name in names:
        value = getattr(thing, name, None)
        if value is not None and type(value).__module__ != "asyncio.unix_events":
            count += _size(value, seen, depth + 1)
    return count


async def left_waiters(peer: Peer) -> str:
    """After many selects that a busy channel won, what stands in the quiet one?"""
    chosen = SELECTS_OF.get(peer.name)
    if chosen is None:
        return "no select"
    quiet, busy = peer.make(1), peer.make(1)
    before = _size(quiet, set())
    for _ in range(SELECTS):
        picking = asyncio.ensure_future(_awaited(chosen([quiet, busy])))
        await turns(2)
        await peer.send(busy, 1)
        await picking
    await turns()
    left = max(0, _size(quiet, set()) - before)
    return str(left) if left <= 2 else f"**{left}**"


ROWS: list[tuple[str, Callable[[Peer], Awaitable[str]]]] = [
    ("capacity 0 is a rendezvous", rendezvous),
    ("drained after the close, then the end", drain),
    ("send on closed", send_on_closed),
    ("closed twice", close_twice),
    ("close while a sender waits", close_with_blocked_sender),
    ("items lost when the receiver is cancelled as it is handed one", lost_items),
    (f"share of the first of two ready channels, {SELECTS} selects", fairness),
    (f"entries left on a quiet channel after {SELECTS} selects", left_waiters),
]


def _heading(name: str) -> str:
    if name == "backstay":
        return "**backstay**"
    if name == "asyncio.Queue":
        return f"{name} ({sys.version_info.major}.{sys.version_info.minor})"
    return f"{name} {importlib.metadata.version(name)}"


async def _cell(check: Callable[[Peer], Awaitable[str]], peer: Peer) -> str:
    try:
        return await asyncio.wait_for(check(peer), 30)
    except Exception as error:
        return f"**{type(error).__name__}**"


async def table() -> str:
    """Return the table in Markdown."""
    random.seed(1)
    asyncio.get_running_loop().set_exception_handler(lambda *_: None)
    lines = [
        "| | Go | " + " | ".join(_heading(peer.name) for peer in PEERS) + " |",
        "| --- | --- |" + " --- |" * len(PEERS),
    ]
    for (name, check), go in zip(ROWS, GO, strict=True):
        cells = [await _cell(check, peer) for peer in PEERS]
        lines.append(f"| {name} | {go} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _same(one: str, other: str) -> bool:
    """Compare two tables; percentages may differ by chance."""
    return re.sub(r"\d+ %", "%", one) == re.sub(r"\d+ %", "%", other)


def main() -> int:
    """Return 0, or 1 when the page says something else."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--write", action="store_true", help="put the table into the page")
    parser.add_argument("--check", action="store_true", help="compare with the page")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    made = asyncio.run(table())
    if not (options.write or options.check):
        print(made)
        return 0
    text = PAGE.read_text(encoding="utf-8")
    head, _, rest = text.partition(BEGIN)
    old, _, tail = rest.partition(END)
    if options.write:
        PAGE.write_text(f"{head}{BEGIN}\n\n{made}\n\n{END}{tail}", encoding="utf-8")
        return 0
    if _same(old.strip(), made):
        return 0
    print(
        f"{PAGE.relative_to(ROOT)} says something else: run {Path(__file__).name} --write",
        file=sys.stderr,
    )
    return 1


if __name__ == "__main__":
    sys.exit(main())
