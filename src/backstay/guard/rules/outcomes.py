"""What a finished call says about the dependency: the law that all guards share.

A breaker that counts every exception learns from the wrong teachers: a client
that hangs up, a shutdown, a caller with no time left. So each way in which a call
can end is given one of three outcomes, once, here:

=====================================================================  ========
the call                                                               outcome
=====================================================================  ========
returned                                                               ok
raised something that the user's `on` does not count                   ok
raised something that `on` counts                                      fail
was cut by its attempt timeout                                         fail
was cut by a deadline after at least the time that such calls take     fail
was cut by a deadline sooner than that                                 neutral
was cancelled: caller gone, client disconnected, shutdown              neutral
was rejected by a guard of ours further down                           neutral
=====================================================================  ========

"ok" for an error that does not count, because the dependency answered. "The time
that such calls take" is the median of those that succeeded; while none has, any
cut counts as a failure once it lasted as long as the guard's slow limit, and as
neutral before.
"""

from __future__ import annotations

from typing import Final, Literal, TypeAlias

__all__ = ["FAIL", "NEUTRAL", "OK", "Outcome", "of_cut"]

Outcome: TypeAlias = Literal["ok", "fail", "neutral"]

OK: Final = "ok"
FAIL: Final = "fail"
NEUTRAL: Final = "neutral"


def of_cut(elapsed: float, usual: float | None, slow: float | None) -> Outcome:
    """Judge a call that a deadline cut while it was in flight.

    Args:
        elapsed: seconds that it had been in flight.
        usual: median seconds of the calls that succeeded lately; None while unknown.
        slow: seconds from which a call counts as slow; None when there is no such limit.
    """
    enough = slow if usual is None else usual
    return FAIL if enough is not None and elapsed >= enough else NEUTRAL
