"""Profiles with Go's URL contract: tasks, leaks, CPU, wall time, blocking and memory.

`go tool pprof` reads what is made here, from a file or straight from the admin
plane. Nothing is collected unless somebody asks, and what is collected holds
strings and numbers only.
"""

from backstay.observe.profile._catalogue import make_desk
from backstay.observe.profile._desk import PREFIX, Desk
from backstay.observe.profile._forms import to_folded, to_speedscope, top
from backstay.observe.profile._pprof import to_pprof
from backstay.observe.profile._pprof_read import from_pprof
from backstay.observe.profile._profile import Frame, Profile, Sample, diff, merge

__all__ = [
    "PREFIX",
    "Desk",
    "Frame",
    "Profile",
    "Sample",
    "diff",
    "from_pprof",
    "make_desk",
    "merge",
    "to_folded",
    "to_pprof",
    "to_speedscope",
    "top",
]
