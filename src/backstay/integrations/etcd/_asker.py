"""Asking a cluster: one member after the other, until one answers or it is not safe to go on."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from backstay._base import now
from backstay.errors import LifecycleMisuse
from backstay.integrations.etcd._errors import (
    EtcdCompacted,
    EtcdError,
    EtcdRefused,
    EtcdUnavailable,
    EtcdUnsure,
)
from backstay.integrations.etcd._member import Member, MemberFailed, Method
from backstay.integrations.etcd._turns import Turns

__all__ = ["Asker", "EtcdStatistics", "refusal"]


@dataclass(frozen=True, slots=True)
class EtcdStatistics:
    """How a client is doing.

    Attributes:
        member: the address that is asked first.
        calls: that were made.
        again: requests that were made once more, of another member.
        unavailable: calls that no member answered.
        unsure: writes of which nobody knows.
        watches: that are open.
        reopened: streams of watches that were begun again.
        events: that watches have told.
    """

    member: str
    calls: int
    again: int
    unavailable: int
    unsure: int
    watches: int
    reopened: int
    events: int


class Asker:
    """Asks the members of a cluster; shared by all that is built upon one client.

    Attributes:
        try_timeout: seconds for one member to answer.
        open: whether anything may be asked.
        watches: that are open.
        reopened: streams of watches that were begun again.
        events: that watches have told.
    """

    def __init__(self, members: Sequence[Member], try_timeout: float) -> None:
        """Ask nobody yet."""
        self._members = members
        self.try_timeout = try_timeout
        self._turns = Turns(len(members))
        self.open = False
        self._calls = self._again = self._unavailable = self._unsure = 0
        self.watches = self.reopened = self.events = 0

    def statistics(self) -> EtcdStatistics:
        """Return what was counted."""
        return EtcdStatistics(
            self._members[self._turns.at].address,
            self._calls,
            self._again,
            self._unavailable,
            self._unsure,
            self.watches,
            self.reopened,
            self.events,
        )

    async def aclose(self) -> None:
        """Break all connections."""
        self.open = False
        for member in self._members:
            await member.aclose()

    async def ask(self, method: Method, request: Any, within: float) -> Any:
        """Ask one member after the other, and return the answer.

        Args:
            method: of etcd.
            request: its message.
            within: seconds in all.

        Raises:
            EtcdUnavailable: no member answered, and nothing happened.
            EtcdUnsure: it may have happened.
            EtcdRefused: a member said no.
            LifecycleMisuse: outside of the client's block.

        Cancelled: a write may have happened.
        """
        until = now() + within
        self._calls += 1
        said: dict[str, str] = {}
        failures = 0
        while (left := until - now()) > 0 or not failures:
            member, index = self.member()
            try:
                return await member.call(method, request, max(0.001, min(left, self.try_timeout)))
            except MemberFailed as failed:
                self.leave(index)
                error = self._judge(failed, method)
                if error is not None:
                    raise error from None
                failures += 1
                said[failed.member] = failed.detail
            self._again += 1
            wait = min(self._turns.pause(failures), until - now())
            if wait > 0:
                await asyncio.sleep(wait)
        self._unavailable += 1
        raise EtcdUnavailable(
            f"{short(method)}: no member of etcd answered within {within:.3g} s, and nothing was written "
            f"({'; '.join(f'{address}: {why}' for address, why in said.items())})"
        )

    def member(self) -> tuple[Member, int]:
        """Return the member to ask, and its number for `leave`.

        Raises:
            LifecycleMisuse: outside of the client's block.
        """
        if not self.open:
            raise LifecycleMisuse("an EtcdClient is used inside of 'async with'")
        return self._members[self._turns.at], self._turns.at

    def leave(self, index: int) -> None:
        """Go on with another member."""
        self._turns.failed(index)

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row."""
        return self._turns.pause(failures)

    def _judge(self, failed: MemberFailed, method: Method) -> EtcdError | None:
        """Return what to raise for a failure; None for "ask the next member"."""
        if failed.effect == "refused":
            return refusal(short(method), failed)
        if failed.effect == "none" or method.again:
            return None
        self._unsure += 1
        return EtcdUnsure(
            f"{short(method)} was sent to {failed.member} and may have happened: {failed.detail}. "
            "Read what is there before you write again, or let a txn compare"
        )


def refusal(what: str, failed: MemberFailed) -> EtcdRefused:
    """Return the error for a member's no."""
    message = f"{what}: {failed.member} said {failed.code}: {failed.detail}"
    if failed.code == "OUT_OF_RANGE" and "compacted" in failed.detail:
        return EtcdCompacted(message)
    return EtcdRefused(message, code=failed.code)


def short(method: Method) -> str:
    return method.path.rpartition("/")[2]
