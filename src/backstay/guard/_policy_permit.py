"""The guards of a policy as an `async with` block, for work that is no single call."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Protocol

from backstay import context as ambient
from backstay.errors import GuardMisuse
from backstay.sync._home import read_clock
from backstay.tasks import TimeLimit

__all__ = ["PolicyPermit"]


class _Policy(Protocol):
    """What a permit needs of the policy that made it."""

    async def take_all(self, permit: PolicyPermit) -> None:
        """Take what a call needs, noting each step in the permit."""
        ...

    def give_all(self, permit: PolicyPermit, error: BaseException | None) -> None:
        """Give back what the permit holds, and learn from how its block ended."""
        ...


class PolicyPermit:
    """Everything that a call would need, taken for the length of a block; made by `Policy.permit`.

    Cancelled: what had been taken by then is given back.

    Attributes:
        began: when it was entered, in seconds on the clock of `backstay.now()`.
        holds: whether it holds the guards of an attempt.
        started: when it had its place.
        limit: its deadline.
        probe: of the breaker.
    """

    __slots__ = ("_policy", "_used", "began", "holds", "limit", "probe", "started")

    def __init__(self, policy: _Policy) -> None:
        """Nothing is taken yet."""
        self._policy = policy
        self.limit: TimeLimit | None = None
        self._used = self.holds = False
        self.probe: Any = None
        self.began = self.started = 0.0

    def remaining(self) -> float | None:
        """Return the seconds until the deadline of the block, or what surrounds it; None without one."""
        return ambient.remaining()

    async def __aenter__(self) -> PolicyPermit:
        """Take what a call needs, in the order of a call.

        Raises:
            Rejected: a guard said no; nothing is held.
            GuardMisuse: this permit was used before.
        """
        if self._used:
            raise GuardMisuse("a permit is used once: write 'async with policy.permit()' each time")
        self.began = self.started = read_clock.read()
        self._used = True
        try:
            await self._policy.take_all(self)
        except BaseException as error:
            await self._leave(error)
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> Literal[False]:
        """Give it back, and let the guards learn from how the block ended."""
        await self._leave(error)
        return False

    async def _leave(self, error: BaseException | None) -> None:
        limit = self.limit
        self._policy.give_all(self, error)
        if limit is not None and limit.fired is not None:
            await limit.settle(error)
