"""What lives longer than a call as metrics: services, consumers, schedules, channels, loops of a multiloop."""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Iterable
from typing import Any, Final, get_args
from weakref import WeakSet

from backstay.channels import Channel
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
from backstay.multiloop import running_multiloops
from backstay.observe.metrics._families import Page

__all__ = ["Watchable", "put_lives", "put_watched", "unwatch", "watch"]

Watchable = Service | Consumer | Schedule | Channel[Any]

_log = logging.getLogger("backstay.metrics")

_KINDS: Final = (Service, Consumer, Schedule, Channel)

_watched: WeakSet[Watchable] = WeakSet()


def watch(*these: Watchable) -> None:
    """Show a service, consumer, schedule or channel in the metrics of this process from now on.

    Guards, health checks and multiloops are found by themselves; these are not, since nothing keeps a
    list of them. They are not kept alive, and go from the metrics when they go.

    Args:
        these: what to show, under its own name. Give each a name that does not come from users.

    Raises:
        TypeError: one of them is something else.
    """
    for one in these:
        if not isinstance(one, _KINDS):
            raise TypeError(
                f"metrics can watch services, consumers, schedules and channels, not {type(one).__name__}"
            )
    _watched.update(these)


def unwatch(*these: Watchable) -> None:
    """Show them no more; harmless when they are not shown."""
    _watched.difference_update(these)


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


def put_watched(page: Page) -> None:
    """Put what `watch` was told to show."""
    for one in sorted(_those(), key=lambda one: (type(one).__name__, one.name)):
        try:
            if isinstance(one, Service):
                _put_service(page, one)
            elif isinstance(one, Consumer):
                _put_consumer(page, one)
            elif isinstance(one, Schedule):
                _put_schedule(page, one)
            else:
                _put_channel(page, one)
        except Exception:
            # It may have changed under our hands; the next scrape may see it whole.
            _log.warning("%r could not tell its statistics", one, exc_info=True)


def _those() -> list[Watchable]:
    for _ in range(10):
        try:
            return list(_watched)
        except RuntimeError:  # the set grew while it was read
            continue
    return []


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


def _put_channel(page: Page, channel: Channel[Any]) -> None:
    said, name = channel.statistics(), channel.name
    figures = {
        "length": ("Items in the channel.", said.length),
        "capacity": ("Items for which there is room.", said.capacity),
        "receivers": ("Tasks that wait for an item.", said.receivers),
        "senders": ("Tasks that wait for room or for a receiver.", said.senders),
        "closed": ("Whether it is closed.", int(said.closed)),
    }
    for field, (text, value) in figures.items():
        page.gauge(f"backstay_channel_{field}", text, value, channel=name)


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
