"""`Budget`: how many retries and hedges one dependency can bear, from all who call it."""

from __future__ import annotations

from dataclasses import dataclass

from backstay.guard._guard import Guard
from backstay.guard.rules.retry_budget import RetryBudget
from backstay.sync._home import read_clock

__all__ = ["Budget", "BudgetStatistics"]


@dataclass(frozen=True, slots=True)
class BudgetStatistics:
    """How a budget is doing.

    Attributes:
        name: its name.
        calls: calls so far, retries not counted.
        spent: retries and hedges so far.
        refused: retries and hedges that were not made because of it.
        retrying: retries and hedges in flight.
        left: how many could be made at once.
    """

    name: str
    calls: int
    spent: int
    refused: int
    retrying: int
    left: float


class Budget(Guard):
    """Bounds the retries and hedges to a share of the calls made lately.

    ::

        bank = Budget(0.1, name="bank")                 # 10 % more load, whatever fails
        charge = Retry(3, budget=bank)
        refund = Retry(3, budget=bank)
        status = Hedge("p95", budget=bank)

    Attributes:
        rule: the arithmetic behind it.
    """

    __slots__ = ("rule",)

    kind = "budget"
    _kind = "retry budget"

    def __init__(
        self,
        ratio: float = 0.1,
        *,
        per_second: float = 1.0,
        at_once: int = 3,
        span: float = 10.0,
        name: str = "",
    ) -> None:
        """Start with nothing counted.

        Args:
            ratio: retries as a share of the calls of the last `span` seconds.
            per_second: retries a second that are allowed in any case, so that a dependency
                with few calls is retried at all.
            at_once: retries in flight that are allowed in any case.
            span: seconds over which calls and retries are counted.
            name: of the dependency, for people; the line that makes it when omitted.

        Raises:
            ValueError: a number is out of range.
        """
        super().__init__(name)
        self.rule = RetryBudget(ratio, per_second=per_second, at_once=at_once, span=span)

    def began(self) -> None:
        """Count a call."""
        self.rule.calls += 1

    def try_spend(self, now: float) -> bool:
        """Allow one more retry or hedge, or not; when allowed, `ended` must follow."""
        if self.rule.try_spend(now):
            return True
        self._rejected += 1
        return False

    def ended(self, count: int = 1) -> None:
        """Note that so many allowed retries are in flight no more."""
        self.rule.retry_ended(count)

    def statistics(self) -> BudgetStatistics:
        """Return how it is doing."""
        rule = self.rule
        return BudgetStatistics(
            name=self.name,
            calls=rule.calls,
            spent=rule.spent,
            refused=rule.refused,
            retrying=rule.retrying,
            left=rule.left(read_clock.read()),
        )

    def __repr__(self) -> str:
        """Show the name and what is left."""
        return f"<Budget {self.name!r} left={self.rule.left(read_clock.read()):.1f}>"
