"""What an event loop still has to do: timers, servers, connections, descriptors, signals.

Each kind of loop keeps these in its own way. They are found among what the loop refers
to, as the garbage collector sees it, by what they are; that holds for asyncio's loops
and for uvloop. Callbacks are named by their code, never called and never printed: what
stands in their arguments is the program's business.
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Iterator
from signal import Signals
from typing import Any, cast
from weakref import WeakValueDictionary

from backstay.leak._keeper import Keeper, counted, named_code
from backstay.leak._places import is_ours, relative
from backstay.leak._timers import parts_of, pending_timers
from backstay.tasks import blocked_on, info
from backstay.tasks._await_chain import kind_of

__all__ = ["loop_keepers"]

Loop = asyncio.AbstractEventLoop

_TRIES = 50
_SLEEPS = "_set_result_unless_cancelled"  # what wakes an `asyncio.sleep`
_OUR_CLOCK = "Tracking._on_tick"


def loop_keepers(loop: Loop) -> list[Keeper]:
    """Name what `loop` still has to do; callable from any thread."""
    parts = list({id(part): part for part in parts_of(loop)}.values())
    found = [*_timers(loop)]
    found += _servers(parts)
    found += _connections(parts)
    found += _watched(parts)
    found += _signals(parts)
    return counted(found)


def _members(read: Callable[[], Any]) -> list[Any]:
    """List what the loop's own thread may change at the same time."""
    for _ in range(_TRIES):
        try:
            return list(read())
        except RuntimeError:  # "changed size during iteration"
            continue
    return []


# -- timers --------------------------------------------------------------------


def _timers(loop: Loop) -> Iterator[Keeper]:
    at = loop.time()
    timers = [(one.when(), one) for one in _members(lambda: pending_timers(loop))]
    for when, timer in sorted(timers, key=lambda one: one[0]):
        callback, arguments = _callback_of(timer)
        name, site = named_code(callback)
        if name == _OUR_CLOCK:
            continue
        if name == _SLEEPS:
            name, site = _sleeper(arguments)
        yield Keeper("timer", name, site, f"due in {max(0.0, when - at):,.1f} s", 1, False)


def _callback_of(handle: Any) -> tuple[Any, tuple[Any, ...]]:
    """Return what a handle calls, and with what; of uvloop's only the collector knows."""
    if isinstance(handle, asyncio.Handle):
        return cast("Any", handle)._callback, cast("Any", handle)._args or ()
    callback: Any = None
    arguments: tuple[Any, ...] = ()
    for thing in gc.get_referents(handle):
        kind = kind_of(thing)
        if kind is tuple and not arguments:
            arguments = thing
        elif callback is None and callable(thing) and not issubclass(kind, type):
            callback = thing
    return callback, arguments


def _sleeper(arguments: tuple[Any, ...]) -> tuple[str, str]:
    """Name the task that sleeps, and the line where."""
    for future in arguments[:1]:
        for callback, _ in getattr(future, "_callbacks", None) or ():
            task: Any = getattr(callback, "__self__", None)
            if issubclass(kind_of(task), asyncio.Task):
                card, wait = info(task), blocked_on(task)
                unnamed = card.name.startswith("Task-") or card.name == "None"
                name = f"{card.coroutine}()" if unnamed else f"task {card.name!r}"
                return f"sleep of {name}", "" if wait is None else relative(wait.site)
    return "sleep", ""


# -- what listens, talks and watches -------------------------------------------------


def _handles(parts: list[Any]) -> Iterator[tuple[int, Any]]:
    """Yield the callbacks of a selector's descriptors (asyncio's own loops)."""
    for part in parts:
        mapping: Any = getattr(part, "get_map", None)
        if mapping is None or not kind_of(part).__module__.startswith("selectors"):
            continue
        for key in _members((mapping() or {}).values):
            for handle in key.data or ():
                if handle is not None:
                    yield key.fd, handle


def _servers(parts: list[Any]) -> Iterator[Keeper]:
    servers: dict[int, Any] = {}
    for part in parts:
        if kind_of(part) is set:
            for one in _members(part.copy):
                if kind_of(one).__name__ == "Server":
                    servers[id(one)] = one
    for _, handle in _handles(parts):
        for one in _callback_of(handle)[1]:
            if issubclass(kind_of(one), asyncio.base_events.Server):
                servers[id(one)] = one
    for server in servers.values():
        for sock in server.sockets:
            yield Keeper("server", _address(sock.getsockname()), "", "listening", 1, False)


def _connections(parts: list[Any]) -> Iterator[Keeper]:
    for part in parts:
        if kind_of(part) is not WeakValueDictionary:
            continue
        for transport in _members(part.values):
            if not hasattr(transport, "get_extra_info") or _is_gone(transport):
                continue
            here = _address(transport.get_extra_info("sockname"))
            there = _address(transport.get_extra_info("peername"))
            protocol = kind_of(transport.get_protocol()).__qualname__
            kind = kind_of(transport).__name__.strip("_")
            name = f"{here} to {there}" if there else here or kind
            yield Keeper("connection", name, "", f"{kind}, {protocol}", 1, False)


def _is_gone(transport: Any) -> bool:
    """Tell whether a transport is closed, or will be at the next turn: nothing is left to be sent."""
    unsent = getattr(transport, "get_write_buffer_size", None)
    return bool(transport.is_closing()) and not (unsent is not None and unsent())


def _watched(parts: list[Any]) -> Iterator[Keeper]:
    """Descriptors that the program itself asked to be told about (`add_reader`)."""
    for fd, handle in _handles(parts):
        name, site = named_code(_callback_of(handle)[0])
        if name.partition(".")[0] in _OF_LOOPS or "Transport" in name:
            continue
        yield Keeper("watch", name, site, f"descriptor {fd}", 1, False)


_OF_LOOPS = frozenset({"BaseSelectorEventLoop", "_UnixSelectorEventLoop", "PidfdChildWatcher"})


def _signals(parts: list[Any]) -> Iterator[Keeper]:
    for part in parts:
        if kind_of(part) is not dict:
            continue
        for number, handle in _members(part.items):
            if isinstance(number, Signals) and kind_of(handle).__name__ == "Handle":
                name, site = named_code(_callback_of(handle)[0])
                path = site.rpartition(":")[0]
                by = "of Backstay" if is_ours(path) else ""
                yield Keeper("signal", f"{number.name} to {name}", site, by, 1, False)


def _address(address: object) -> str:
    if isinstance(address, (tuple, list)):
        parts = cast("tuple[Any, ...]", address)
        if len(parts) < 2:
            return ""
        return f"[{parts[0]}]:{parts[1]}" if ":" in str(parts[0]) else f"{parts[0]}:{parts[1]}"
    if isinstance(address, bytes):  # an abstract socket
        address = address.decode(errors="replace")
    return address if isinstance(address, str) else ""
