"""Which call means what: the table that turns a chain of calls into a label.

A rule names a call (`module:qualified name`) and says what waiting inside it
means. The labels stand or fall with these names, so each library claimed here
has a conformance test (``tests/integrations/blocked_on``) that blocks a real
task in each listed call and compares.

This file holds the mechanism and the rules of asyncio, uvloop and Backstay
itself; `_wait_rules_web` and `_wait_rules_data` hold those of other libraries.
Nothing is imported for them: a rule is text until a chain shows the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from backstay.tasks import _wait_details as detail
from backstay.tasks._wait_details import Detail

__all__ = ["ASYNCIO_RULES", "Rule", "Table", "methods"]


@dataclass(frozen=True, slots=True)
class Rule:
    """What waiting inside one call means."""

    kind: str  # one word for machines: "queue", "timer", "db" ...
    label: str  # a few words for people, the same for every wait of this sort
    detail: Detail | None = None  # reads the numbers behind it
    detail_depth: int = 1  # how many calls, from this one inwards, the reader may look into
    innermost: bool = False  # holds only when nothing but the future is below this call
    transparent: bool = False  # a wrapper such as wait_for: what it wraps gives the label
    phases: Mapping[str, str] | None = None  # inner call -> words that refine the label


# module -> qualified name, "Class.*" or "*" -> rule. A module key ending in ".*"
# stands for the package; the most exact entry wins.
Table = Mapping[str, Mapping[str, Rule]]


def methods(owner: str, names: str, rule: Rule) -> dict[str, Rule]:
    """Give several methods of one class (names separated by blanks) the same rule."""
    return {f"{owner}.{name}" if owner else name: rule for name in names.split()}


_CONNECT = Rule("socket", "connect")
_READ = Rule("socket", "stream read", detail.stream_peer)
_AS_COMPLETED = Rule("task", "as_completed")
_WAIT = Rule("task", "wait", detail.wait_left)
_GROUP_EXIT = Rule("task", "task group exit", detail.children_left)
_SERVE = Rule("socket", "serve forever")
_DNS = Rule("socket", "dns lookup", detail.executor_state)
_TLS = Rule("socket", "tls handshake")
_RECV = Rule("channel", "channel recv", detail.channel_fill)
_CONDITION = Rule("condition", "condition wait", detail.waiters)


def _loop_calls(owner: str) -> dict[str, Rule]:
    """Say what the coroutine methods of an event loop mean; the names are asyncio's on every loop."""
    recv = Rule("socket", "socket recv")
    send = Rule("socket", "socket send")
    return {
        **methods(owner, "sock_recv sock_recv_into sock_recvfrom sock_recvfrom_into", recv),
        **methods(owner, "sock_sendall sock_sendto sock_sendfile sendfile", send),
        **methods(owner, "sock_accept", Rule("socket", "socket accept")),
        **methods(owner, "sock_connect", Rule("socket", "socket connect")),
        **methods(
            owner, "create_connection create_unix_connection create_datagram_endpoint", _CONNECT
        ),
        **methods(owner, "connect_accepted_socket", _CONNECT),
        **methods(owner, "getaddrinfo getnameinfo", _DNS),
        **methods(owner, "start_tls", _TLS),
        **methods(owner, "shutdown_default_executor", Rule("executor", "executor shutdown")),
        **methods(owner, "subprocess_exec subprocess_shell", Rule("process", "subprocess start")),
    }


ASYNCIO_RULES: Table = {
    "asyncio.tasks": {
        "sleep": Rule("timer", "sleep", detail.seconds_left),
        "wait": _WAIT,
        "_wait": _WAIT,
        "wait_for": Rule("future", "wait_for", detail.seconds_left, transparent=True),
        "_cancel_and_wait": Rule("task", "cancelled task to end"),
        "as_completed.<locals>._wait_for_one": _AS_COMPLETED,
        "_AsCompletedIterator._wait_for_one": _AS_COMPLETED,
        "_AsCompletedIterator.__anext__": _AS_COMPLETED,
    },
    "asyncio.queues": {
        "Queue.get": Rule("queue", "queue get", detail.queue_fill),
        "Queue.put": Rule("queue", "queue put", detail.queue_fill),
        "Queue.join": Rule("queue", "queue join", detail.queue_unfinished),
    },
    "asyncio.locks": {
        "Lock.acquire": Rule("lock", "lock acquire", detail.waiters),
        "Event.wait": Rule("event", "event wait", detail.waiters),
        "Condition.wait": _CONDITION,
        "Condition.wait_for": _CONDITION,
        "Semaphore.acquire": Rule("semaphore", "semaphore acquire", detail.semaphore_value),
        "Barrier.wait": Rule("barrier", "barrier wait"),
    },
    "asyncio.taskgroups": {"TaskGroup.__aexit__": _GROUP_EXIT, "TaskGroup._aexit": _GROUP_EXIT},
    "asyncio.threads": {"to_thread": Rule("executor", "thread", detail.executor_state)},
    "asyncio.streams": {
        **methods(
            "StreamReader", "read readline readuntil readexactly __anext__ _wait_for_data", _READ
        ),
        "StreamWriter.drain": Rule("socket", "stream drain", detail.stream_peer),
        "StreamWriter.wait_closed": Rule("socket", "stream close", detail.stream_peer),
        "StreamWriter.start_tls": _TLS,
        "open_connection": _CONNECT,
        "open_unix_connection": _CONNECT,
    },
    "asyncio.subprocess": {
        "Process.wait": Rule("process", "subprocess wait"),
        "Process.communicate": Rule("process", "subprocess communicate"),
        "Process._feed_stdin": Rule("process", "subprocess write"),
        "Process._read_stream": Rule("process", "subprocess read"),
        "create_subprocess_exec": Rule("process", "subprocess start"),
        "create_subprocess_shell": Rule("process", "subprocess start"),
    },
    "asyncio.base_subprocess": {
        "BaseSubprocessTransport._wait": Rule("process", "subprocess wait"),
        "BaseSubprocessTransport._connect_pipes": Rule("process", "subprocess start"),
    },
    "asyncio.base_events": {
        **_loop_calls("BaseEventLoop"),
        "Server.serve_forever": _SERVE,
        "Server.wait_closed": Rule("socket", "server close"),
    },
    "asyncio.selector_events": _loop_calls("BaseSelectorEventLoop"),
    "asyncio.unix_events": _loop_calls("_UnixSelectorEventLoop"),
    "uvloop.loop": {
        **_loop_calls("Loop"),
        "Server.serve_forever": _SERVE,
        "Server.wait_closed": Rule("socket", "server close"),
    },
    "backstay.channels._channel": {
        "Channel.send": Rule("channel", "channel send", detail.channel_fill),
        **methods("Channel", "recv recv2 recv_many __anext__", _RECV),
    },
    "backstay.channels._views": {"RecvOnly.__anext__": _RECV},
    "backstay.channels._select": {
        "select": Rule("channel", "select", detail.select_cases),
    },
    "backstay.sync._mutex": {"Mutex._wait": Rule("lock", "mutex lock", detail.sync_state)},
    "backstay.sync._rwmutex": {
        "RWMutex._wait_to_read": Rule("lock", "rwmutex read lock", detail.sync_state),
        "RWMutex._wait_to_write": Rule("lock", "rwmutex write lock", detail.sync_state),
    },
    "backstay.sync._condition": {
        "Cond._wait": Rule(
            "condition",
            "condition wait",
            detail.sync_state,
            phases={"backstay.sync._mutex:Mutex._wait": "mutex again"},
        ),
    },
    "backstay.sync._semaphore": {
        "Semaphore.acquire": Rule("semaphore", "semaphore acquire", detail.sync_state),
    },
    "backstay.sync._event": {"Event.wait": Rule("event", "event wait", detail.sync_state)},
    "backstay.sync._barrier": {"Barrier.wait": Rule("barrier", "barrier wait", detail.sync_state)},
    "backstay.sync._wait_group": {
        "WaitGroup.wait": Rule("event", "wait group", detail.sync_state),
    },
    "backstay.sync._once": {"_Run._turn": Rule("task", "once", detail.sync_state)},
    "backstay.sync._single_flight": {
        "SingleFlight._follow": Rule("task", "single flight", detail.sync_state),
    },
    "backstay.guard._bulkhead": {
        "Bulkhead._wait": Rule("semaphore", "bulkhead", detail.sync_state),
    },
    "backstay.guard._rate": {"Rate.acquire": Rule("timer", "rate limit", detail.sync_state)},
    "backstay.guard._shared_rate": {
        "SharedRate.acquire": Rule("timer", "shared rate", detail.sync_state),
    },
    "backstay.guard._pool": {"Pool._wait": Rule("semaphore", "pool", detail.sync_state)},
    "backstay.tasks._scope": {
        "Scope.__aexit__": Rule("task", "scope exit", detail.scope_children),
        "Scope.go_wait": Rule("semaphore", "scope place", detail.scope_children),
    },
}
