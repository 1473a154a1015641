"""Guards: what says yes, wait or no to a call, so that a service lets in what it can finish.

`backstay.guard.rules` decides, in plain arithmetic; what is here waits, counts
and raises.
"""

from backstay.guard._guard import Guard, Mode, find, guards

__all__ = ["Guard", "Mode", "find", "guards"]
