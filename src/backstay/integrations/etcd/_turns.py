"""Which member is asked next, and how soon: a rule without a clock."""

from __future__ import annotations

from typing import Final

__all__ = ["Turns"]

_FIRST_S: Final = 0.05
_MOST_S: Final = 0.5


class Turns:
    """Stays with a member as long as it answers, and goes round when it does not.

    Attributes:
        at: the index of the member to ask.
    """

    __slots__ = ("_count", "at")

    def __init__(self, count: int) -> None:
        """Begin with the first of `count` members."""
        self._count = count
        self.at = 0

    def failed(self, index: int) -> None:
        """Leave that member; one that was left already, by another call, is not left twice."""
        if self.at == index:
            self.at = (index + 1) % self._count

    def pause(self, failures: int) -> float:
        """Return the seconds to wait after so many failures in a row.

        None while there is a member that was not asked yet; then 50 ms, doubled with each
        round, at most half a second.
        """
        rounds, rest = divmod(failures, self._count)
        if rest or not rounds:
            return 0.0
        return min(_MOST_S, _FIRST_S * 2.0 ** min(rounds - 1, 10))
