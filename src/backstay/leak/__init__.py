"""Leaks: who is alive, who should not be, and which line of code keeps adding to them.

`tasks` records, this room judges. `report()` answers at once for orphans and
overdue tasks; with a `Sampler` that has watched for a while it also names the
sites that grow. The rule behind that, `GrowthRule`, is plain arithmetic and can
be asked about any series of counts.
"""

from backstay.leak._census import Census, Group, Site, SiteCensus, Witness, take_census
from backstay.leak._contention import contention
from backstay.leak._deadlock import Deadlock, deadlocks, find_deadlocks
from backstay.leak._expected import Expectation, expect
from backstay.leak._finding import Finding, Verdict
from backstay.leak._generators import AbandonedGenerators
from backstay.leak._growth_rule import Backing, Growth, GrowthRule, Movement
from backstay.leak._interceptor import InterceptionStatistics, Interceptor, Rule
from backstay.leak._keeper import Keeper, KeeperKind
from backstay.leak._keepers import Keepers, keepers, left_over
from backstay.leak._lifelines import Lifelines, birth_row
from backstay.leak._memory import MemoryHeld, memory_held
from backstay.leak._proof import Proof, Proved
from backstay.leak._prove import prove
from backstay.leak._prover import Prover
from backstay.leak._report import Report, report
from backstay.leak._sampler import Sampler, SamplerStatistics
from backstay.leak._spawn_caps import CapStatistics, SpawnCaps
from backstay.leak._trend import Slope, Trend, mann_kendall, theil_sen
from backstay.leak._waits import Waiter, Waits, waits
from backstay.leak._watch import Watch, WatchStatistics

__all__ = [
    "AbandonedGenerators",
    "Backing",
    "CapStatistics",
    "Census",
    "Deadlock",
    "Expectation",
    "Finding",
    "Group",
    "Growth",
    "GrowthRule",
    "InterceptionStatistics",
    "Interceptor",
    "Keeper",
    "KeeperKind",
    "Keepers",
    "Lifelines",
    "MemoryHeld",
    "Movement",
    "Proof",
    "Proved",
    "Prover",
    "Report",
    "Rule",
    "Sampler",
    "SamplerStatistics",
    "Site",
    "SiteCensus",
    "Slope",
    "SpawnCaps",
    "Trend",
    "Verdict",
    "Waiter",
    "Waits",
    "Watch",
    "WatchStatistics",
    "Witness",
    "birth_row",
    "contention",
    "deadlocks",
    "expect",
    "find_deadlocks",
    "keepers",
    "left_over",
    "mann_kendall",
    "memory_held",
    "prove",
    "report",
    "take_census",
    "theil_sen",
    "waits",
]
