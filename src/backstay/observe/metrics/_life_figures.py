"""What lives longer than a call as metrics: services, consumers, schedules, channels, loops of a multiloop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable, Mapping
from typing import Any, Final, get_args

from backstay._base import Roster
from backstay.channels import Channel, ChannelStatistics
from backstay.channels._channel import ALIVE as CHANNELS
from backstay.leak._census import breather
from backstay.lifecycle import (
    CheckState,
    Consumer,
    ConsumerState,
    Schedule,
    ScheduleState,
    Service,
    ServiceState,
    running_health,
)
from backstay.lifecycle._service import ALIVE as SERVICES
from backstay.lifecycle._steered import ALIVE as STEERED
from backstay.lifecycle._steered import Steered
from backstay.multiloop import running_multiloops
from backstay.observe.metrics._families import Page, label
from backstay.observe.metrics._task_sites import OTHER

__all__ = ["ChannelRows", "Watchable", "put_lives", "put_living", "unwatch", "watch"]

Watchable = Service | Consumer | Schedule | Channel[Any]

_log = logging.getLogger("backstay.metrics")

_KINDS: Final = (Service, Consumer, Schedule, Channel)
#: Channels between two breaths: less than a millisecond.
_STRIDE: Final = 256

_hidden: Roster[Watchable] = Roster()


def watch(*these: Watchable) -> None:
    """Show again what `unwatch` has hidden.

    Nobody has to be named for the metrics: services, consumers, schedules and channels are found by
    themselves as long as they live, each under its own name. So give names that do not come from users.

    Args:
        these: what to show.

    Raises:
        TypeError: one of them is something else.
    """
    for one in these:
        if not isinstance(one, _KINDS):
            raise TypeError(
                f"metrics can watch services, consumers, schedules and channels, not {type(one).__name__}"
            )
    for one in these:
        _hidden.discard(one)


def unwatch(*these: Watchable) -> None:
    """Show them no more, although they live; harmless when they are hidden already."""
    for one in these:
        _hidden.add(one)


_CONSUMER: Final = {
    "taken": "Messages taken.",
    "redelivered": "Of these, messages that had been delivered before.",
    "acked": "Messages that were handled and acknowledged.",
    "failed": "Handlings that ended with an error or at their deadline.",
    "retried": "Messages given back to come again.",
    "dead": "Messages put with the dead letters.",
    "given_back": "Messages given back when it was told to leave.",
    "lost": "Messages that could not be settled in time, and come again.",
    "broker_errors": "Calls to the broker that failed.",
}

_CHANNEL: Final = {
    "length": "Items in the channel.",
    "capacity": "Items for which there is room.",
    "receivers": "Tasks that wait for an item.",
    "senders": "Tasks that wait for room or for a receiver.",
    "closed": "Channels that are closed.",
}

_SCHEDULE_OUTCOMES: Final = (
    "done",
    "failed",
    "deadline",
    "cut",
    "lost",
    "no_lease",
    "elsewhere",
    "left",
    "missed",
    "overlapped",
)


def _ids_of_hidden() -> frozenset[int]:
    return frozenset(map(id, _hidden.living()))


def put_living(page: Page) -> None:
    """Put every service, consumer and schedule that is alive."""
    alive: list[Service | Steered] = [*SERVICES.living(), *STEERED.living()]
    hidden = _ids_of_hidden()
    found = [one for one in alive if id(one) not in hidden]
    for one in sorted(found, key=lambda one: (type(one).__name__, one.name)):
        try:
            if isinstance(one, Service):
                _put_service(page, one)
            elif isinstance(one, Consumer):
                _put_consumer(page, one)
            elif isinstance(one, Schedule):
                _put_schedule(page, one)
        except Exception:
            # It may have changed under our hands; the next scrape may see it whole.
            _log.warning("%r could not tell its statistics", one, exc_info=True)


def _put_state(page: Page, what: str, name: str, state: str, states: Iterable[str]) -> None:
    for one in states:
        page.gauge(
            f"backstay_{what}_state",
            f"1 for the state in which a {what} is, 0 for the others.",
            int(one == state),
            most=False,
            **{what: name, "state": one},
        )


def _put_service(page: Page, service: Service) -> None:
    _put_state(page, "service", service.name, service.state, get_args(ServiceState))
    page.gauge(
        "backstay_service_ready",
        "Whether the service wants traffic.",
        int(service.readiness.ready),
        service=service.name,
    )
    for one in service.record().components:
        page.gauge(
            "backstay_service_components",
            "Components by their state.",
            1,
            service=service.name,
            state=one.state,
        )
        page.gauge(
            "backstay_service_stop_seconds",
            "How long the stop of a component took.",
            one.stop_s,
            most=True,
            service=service.name,
            component=one.name,
        )


def _put_consumer(page: Page, consumer: Consumer) -> None:
    said, name = consumer.statistics(), consumer.name
    _put_state(page, "consumer", name, said.state, get_args(ConsumerState))
    page.gauge(
        "backstay_consumer_paused",
        "Whether nothing is taken.",
        int(bool(said.paused)),
        consumer=name,
    )
    page.gauge("backstay_consumer_in_hand", "Messages in hand.", said.in_hand, consumer=name)
    page.gauge(
        "backstay_consumer_oldest_seconds",
        "For how long the oldest message has been in hand.",
        said.oldest_s,
        most=True,
        consumer=name,
    )
    for field, text in _CONSUMER.items():
        page.counter(f"backstay_consumer_{field}", text, getattr(said, field), consumer=name)


def _put_schedule(page: Page, schedule: Schedule) -> None:
    said, name = schedule.statistics(), schedule.name
    _put_state(page, "schedule", name, said.state, get_args(ScheduleState))
    page.gauge("backstay_schedule_running", "Runs at work.", said.running, schedule=name)
    page.gauge(
        "backstay_schedule_last_done_time_seconds",
        "Unix time at which work has last returned.",
        said.last_done_at,
        most=True,
        schedule=name,
    )
    page.counter(
        "backstay_schedule_begun", "Runs whose work was called.", said.begun, schedule=name
    )
    for outcome in _SCHEDULE_OUTCOMES:
        page.counter(
            "backstay_schedule_runs",
            "Planned instants by what became of them.",
            getattr(said, outcome),
            schedule=name,
            outcome=outcome,
        )


@dataclasses.dataclass(slots=True)
class _Pipes:
    """The channels of one name together."""

    alive: int = 0
    length: int = 0
    capacity: int = 0
    receivers: int = 0
    senders: int = 0
    closed: int = 0

    def add(self, said: ChannelStatistics) -> None:
        self.alive += 1
        self.length += said.length
        self.capacity += said.capacity
        self.receivers += said.receivers
        self.senders += said.senders
        self.closed += said.closed

    def join(self, other: _Pipes) -> None:
        for field in dataclasses.fields(self):
            mine = getattr(self, field.name)
            setattr(self, field.name, mine + getattr(other, field.name))


class ChannelRows:
    """Which names of channels have a row: as many as there is room for, and all others are one.

    A channel without a name has that of the line that made it, and those of one line are one row. A row
    stays with its name, since a series that comes and goes says nothing; one whose channels are all
    gone makes room when it is needed.
    """

    def __init__(self, most: int) -> None:
        """Have room for so many names, at least 1."""
        self._most = most
        self._held: dict[str, None] = {}

    def put(self, page: Page) -> None:
        """Put every channel that is alive.

        Cost: 2 microseconds a channel.
        """
        found = self._found()
        self._choose(found)
        rows: dict[str, _Pipes] = {}
        for name, pipes in found.items():
            rows.setdefault(name if name in self._held else OTHER, _Pipes()).join(pipes)
        for name, pipes in sorted(rows.items()):
            page.gauge("backstay_channels", "Living channels.", pipes.alive, channel=name)
            for field, text in _CHANNEL.items():
                value = getattr(pipes, field)
                page.gauge(f"backstay_channel_{field}", text, value, channel=name)

    def _found(self) -> dict[str, _Pipes]:
        found: dict[str, _Pipes] = {}
        breathe, hidden = breather(), _ids_of_hidden()
        for count, channel in enumerate(CHANNELS.living()):
            if not count % _STRIDE:
                breathe()
            if id(channel) in hidden:
                continue
            try:
                said = channel.statistics()
            except Exception:
                _log.warning("%r could not tell its statistics", channel, exc_info=True)
                continue
            found.setdefault(label(said.name), _Pipes()).add(said)
        return found

    def _choose(self, found: Mapping[str, _Pipes]) -> None:
        waiting = [name for name in found if name not in self._held]
        waiting.sort(key=lambda name: (-found[name].alive, name))
        gone = [name for name in self._held if name not in found]
        for name in gone[: max(0, len(self._held) + len(waiting) - self._most)]:
            del self._held[name]
        for name in waiting[: self._most - len(self._held)]:
            self._held[name] = None


def put_lives(page: Page) -> None:
    """Put what is found without being told of: health checks and multiloops."""
    for health in running_health():
        for one in health.statistics().checks:
            for state in get_args(CheckState):
                page.gauge(
                    "backstay_health_check_state",
                    "1 for the state in which a dependency is, 0 for the others.",
                    int(one.state == state),
                    health=health.name,
                    check=one.name,
                    state=state,
                )
            page.counter(
                "backstay_health_check_failures",
                "Checks of a dependency that failed.",
                one.failed,
                health=health.name,
                check=one.name,
            )
    for pool in running_multiloops():
        said = dataclasses.asdict(pool.statistics())
        for field, text in _MULTILOOP_NOW.items():
            page.gauge(f"backstay_multiloop_{field}", text, said[field], multiloop=pool.name)
        for field, text in _MULTILOOP_EVER.items():
            page.counter(f"backstay_multiloop_{field}", text, said[field], multiloop=pool.name)


_MULTILOOP_NOW: Final = {
    "procs": "Loops that take work.",
    "waiting": "Jobs in the global queue.",
    "queued": "Jobs in the queues of the loops.",
    "running": "Jobs under way.",
}
_MULTILOOP_EVER: Final = {
    "started": "Jobs that were begun.",
    "steals": "Times a loop took half of the queue of another.",
    "hand_offs": "Times the queue of a blocked loop was given to all.",
}
