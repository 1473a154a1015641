"""Many loops, one thread each, and a watch on those that are blocked.

`Multiloop` is opt-in: one loop is the right number for most services. `Sysmon`
is useful with one loop already, and on by default under ``backstay run``.
"""

from backstay._base import BlockRecord
from backstay.multiloop._block import block
from backstay.multiloop._block_log import BlockLog
from backstay.multiloop._multiloop import Multiloop, running_multiloops
from backstay.multiloop._statistics import LoopStatistics, MultiloopStatistics
from backstay.multiloop._sysmon import Sysmon, SysmonStatistics

__all__ = [
    "BlockLog",
    "BlockRecord",
    "LoopStatistics",
    "Multiloop",
    "MultiloopStatistics",
    "Sysmon",
    "SysmonStatistics",
    "block",
    "running_multiloops",
]
