"""The numbers behind a wait: how full the queue is, how long the sleep still takes.

Each reader gets the suspended call that waits (`link`), the future at the end
of the chain (`leaf`) and the loop, and returns a few words, or "" when it
cannot tell. The objects are found among what the garbage collector sees in the
call, never through `f_locals`. A reader runs no code of the user's: it compares
types by identity, calls nothing that a subclass may override, and takes the
length of containers only when they are Python's own.
"""

from __future__ import annotations

import asyncio
import gc
import re
from collections import deque
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any, cast

from backstay.tasks._await_chain import kind_of

__all__ = [
    "Detail",
    "chained_source",
    "channel_fill",
    "children_left",
    "executor_state",
    "http_call",
    "queue_fill",
    "queue_unfinished",
    "scope_children",
    "seconds_left",
    "select_cases",
    "semaphore_value",
    "shielded",
    "stream_peer",
    "sync_state",
    "task_name",
    "timeout_left",
    "wait_left",
    "waiters",
]

Detail = Callable[[Any, Any, asyncio.AbstractEventLoop], str]

_get_coro = cast("Callable[[Any], Any]", asyncio.Task.get_coro)  # past what a subclass overrides
_get_name = cast("Callable[[Any], str]", asyncio.Task.get_name)

_METHODS = frozenset(
    {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "QUERY", "CONNECT"}
)
# What may stand in a host name; anything else is a surprise that had better not reach a log.
_HOST = re.compile(r"[A-Za-z0-9._:\[\]-]{1,255}")
# Futures of one `wait` looked at; a bigger set is reported by its size alone.
_MAX_COUNTED = 1_000
_MAX_CALLBACKS = 8
_MAX_CASES = 6


def queue_fill(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell a queue's size, limit and lines of waiters."""
    queue = _owner(link, asyncio.Queue)
    if queue is None:
        return ""
    items, limit = _length(queue._queue), queue._maxsize
    size = "" if items is None else f"{items} of {limit} items" if limit else _count(items, "item")
    lines = [
        _count(line, word)
        for line, word in ((len(queue._getters), "getter"), (len(queue._putters), "putter"))
        if line
    ]
    return ", ".join(filter(None, [size, *lines]))


def channel_fill(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell a channel's name, how full it is and its lines of waiters."""
    for thing in gc.get_referents(link):
        channel = _channel_of(thing)
        if channel is not None:
            return _channel_words(channel)
    return ""


def select_cases(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell what a select chooses from: ``recv jobs, send audit``."""
    for cases in gc.get_referents(link):
        if kind_of(cases) is not tuple:
            continue
        words: list[str] = []
        for case in cases:
            sends = kind_of(case) is tuple and len(case) == 2
            channel = _channel_of(case[0] if sends else case)
            if channel is not None:
                words.append(f"{'send' if sends else 'recv'} {channel.name}")
        if words:
            more = [f"{len(words) - _MAX_CASES} more"] if len(words) > _MAX_CASES else []
            return ", ".join(words[:_MAX_CASES] + more)
    return "no channel"


def _channel_of(thing: Any) -> Any:
    """Find the `Channel` that a thing is, or is one end of; by name, for its room is above us."""
    kind = kind_of(thing)
    if kind.__module__.startswith("backstay.channels."):
        if _is_channel(kind):
            return thing
        behind = getattr(thing, "_behind", None)
        return behind if _is_channel(kind_of(behind)) else None
    return None


def _is_channel(kind: type[Any]) -> bool:
    return any(one.__name__ == "Channel" for one in kind.__mro__)


def _channel_words(channel: Any) -> str:
    items = len(channel._items) + len(channel._returned)
    lines = [
        _count(len(line), word)
        for line, word in ((channel._receivers, "receiver"), (channel._senders, "sender"))
        if line
    ]
    return ", ".join([f"{channel.name}: {items} of {channel.capacity} items", *lines])


def queue_unfinished(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell how many items of a queue nobody has called `task_done()` for."""
    queue = _owner(link, asyncio.Queue)
    return f"{queue._unfinished_tasks} unfinished" if queue is not None else ""


def waiters(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell how many wait in the same line for a lock, event or condition."""
    for kind in (asyncio.Condition, asyncio.Lock, asyncio.Event):
        primitive = _owner(link, kind)
        if primitive is not None:
            line = _length(primitive._waiters)
            return _count(line, "waiter") if line else ""
    return ""


def semaphore_value(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell a semaphore's free places and its line."""
    semaphore = _owner(link, asyncio.Semaphore)
    if semaphore is None:
        return ""
    line = _length(semaphore._waiters)
    return f"{semaphore._value} free" + (f", {_count(line, 'waiter')}" if line else "")


def seconds_left(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell how long a timer still runs."""
    for thing in gc.get_referents(link):
        if kind_of(thing).__name__ == "TimerHandle":
            return f"{_seconds(thing.when() - loop.time())} left"
    return ""


def timeout_left(link: Any, loop: asyncio.AbstractEventLoop, timers: bool) -> str:
    """Tell when the time-out block (asyncio's or ours) around a call will strike.

    Args:
        link: the call that may be inside of such a block.
        loop: whose clock counts.
        timers: whether any timer of the call is its time-out, as in `wait_for` of Python 3.11.
    """
    for thing in gc.get_referents(link):
        block = thing.__self__ if kind_of(thing) is MethodType else thing
        kind = kind_of(block)
        if kind is asyncio.Timeout or (timers and kind.__name__ == "TimerHandle"):
            when = block.when()
        elif kind.__name__ == "Timeout" and kind.__module__.startswith("backstay."):
            when = block._timer and block._timer.when()
        else:
            continue
        if when is not None:
            return f"times out in {_seconds(when - loop.time())}"
    return ""


def wait_left(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell how many futures of an `asyncio.wait` are still pending."""
    for thing in gc.get_referents(link):
        if kind_of(thing) in (set, frozenset, list, tuple) and 0 < len(thing) <= _MAX_COUNTED:
            members = list(thing)
            if all(issubclass(kind_of(member), asyncio.Future) for member in members):
                return _pending(members)
    return ""


def children_left(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell how many children a task group or a gather still waits for."""
    gathered = getattr(leaf, "_children", None)
    if kind_of(gathered) in (list, tuple):
        return _pending(gathered)
    group = _owner(link, asyncio.TaskGroup)
    return _count(len(group._tasks), "child", "children") if group is not None else ""


def scope_children(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell the name of one of our scopes and how many children it still has."""
    for thing in gc.get_referents(link):
        kind = kind_of(thing)
        if kind.__name__ == "Scope" and kind.__module__.startswith("backstay."):
            return f"{thing.name!r}, {_count(len(thing._children), 'child', 'children')}"
    return ""


_OURS = ("backstay.sync.", "backstay.guard.")


def sync_state(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Let one of our own primitives say its name, and who holds it or what is missing."""
    for thing in gc.get_referents(link):
        kind = kind_of(thing)
        if kind.__module__.startswith(_OURS) and hasattr(kind, "_in_words"):
            return str(thing._in_words())
    return ""


def task_name(task: Any) -> str:
    """Tell which task is waited for: its name and its coroutine."""
    if not issubclass(kind_of(task), asyncio.Task):
        return kind_of(task).__qualname__
    coroutine = _get_coro(task)
    return f"{_get_name(task)!r} {getattr(coroutine, '__qualname__', '')}".strip()


def executor_state(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell whether a thread works on it, or the call still queues for a free thread."""
    source = chained_source(leaf)
    state = getattr(source, "_state", "")
    if state == "PENDING":
        return "queued for a free thread"
    return "running in a thread" if state == "RUNNING" else ""


def chained_source(leaf: Any) -> Any:
    """Find the `concurrent.futures.Future` that an asyncio future was chained to, or None."""
    return _closure(leaf, "_chain_future", "source")


def shielded(leaf: Any) -> Any:
    """Find what an `asyncio.shield` protects, or None when the future is not a shield's."""
    return _closure(leaf, "shield", "inner")


def stream_peer(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell the far end of an asyncio stream (on the stock loop, where it is a plain dict)."""
    for thing in gc.get_referents(link):
        if kind_of(thing) in (asyncio.StreamReader, asyncio.StreamWriter):
            extra: Any = getattr(thing._transport, "_extra", None)
            peer: Any = extra.get("peername", "") if kind_of(extra) is dict else ""
            if kind_of(peer) is tuple and len(peer) >= 2:
                peer = f"{peer[0]}:{peer[1]}"
            return f"peer {peer}" if peer and kind_of(peer) is str else ""
    return ""


def http_call(link: Any, leaf: Any, loop: asyncio.AbstractEventLoop) -> str:
    """Tell method and origin of an HTTP call; paths and queries may carry secrets and stay out."""
    method, origin = "", ""
    for thing in gc.get_referents(link):
        kind = kind_of(thing)
        if kind is str and thing in _METHODS:
            method = method or thing
        elif kind.__name__ == "Request" and kind.__module__.startswith("httpx"):
            method, origin = str(thing.method), _origin(thing.url) or origin
        elif kind.__name__ == "URL" and kind.__module__.startswith(("yarl", "httpx")):
            origin = _origin(thing) or origin
    return f"{method} {origin}".strip()


def _origin(url: Any) -> str:
    host = str(url.host or "")
    if not _HOST.fullmatch(host):
        return ""
    return f"{url.scheme}://{host}" + (f":{int(url.port)}" if url.port else "")


def _closure(future: Any, outer: str, variable: str) -> Any:
    """Read a variable captured by a done-callback that the function `outer` of asyncio attached."""
    for callback in _callbacks(future):
        if kind_of(callback) is not FunctionType or not callback.__module__.startswith("asyncio."):
            continue
        names = callback.__code__.co_freevars
        if callback.__qualname__.startswith(f"{outer}.<locals>.") and variable in names:
            return callback.__closure__[names.index(variable)].cell_contents
    return None


def _callbacks(future: Any) -> Iterator[Any]:
    """Yield the first few callbacks of a future.

    The attribute `_callbacks` would copy the whole list; a future that ten
    thousand tasks wait for has ten thousand of them, and each of these tasks
    asks. What asyncio itself attaches comes first.
    """
    for thing in gc.get_referents(future):
        if kind_of(thing) is FunctionType:
            yield thing
        elif kind_of(thing) is list:
            for entry in thing[:_MAX_CALLBACKS]:
                yield entry[0] if kind_of(entry) is tuple else entry


def _owner(link: Any, kind: type) -> Any:
    """Find the object of a type (or a subclass) whose method `link` is."""
    for thing in gc.get_referents(link):
        if issubclass(kind_of(thing), kind):
            return thing
    return None


def _pending(futures: Any) -> str:
    if len(futures) > _MAX_COUNTED:
        return f"{len(futures)} futures"
    waiting = sum(1 for future in futures if getattr(future, "_state", "") == "PENDING")
    return f"{waiting} of {len(futures)} pending"


def _length(container: Any) -> int | None:
    return (
        len(container)
        if kind_of(container) in (deque, list, dict, set)
        else 0
        if container is None
        else None
    )


def _seconds(number: float) -> str:
    return f"{number:,.0f} s" if number >= 100 else f"{max(0.0, number):.1f} s"


def _count(number: int, one: str, many: str = "") -> str:
    return f"{number} {one if number == 1 else many or one + 's'}"
