"""Compare variants of one system: the same load, the same fault, one verdict."""

from backstay.lab.compare._compare import (
    CompareOptions,
    compare,
    conclude,
    knee_of,
    write_result,
)
from backstay.lab.compare._growth import growth_pct_per_min, theil_sen
from backstay.lab.compare._observer import Observer, Silent, Tick
from backstay.lab.compare._records import (
    Check,
    Comparison,
    Machine,
    RootCause,
    Sample,
    SourceLine,
    VariantResult,
    VariantRun,
)
from backstay.lab.compare._root_cause import merge_findings, read_source
from backstay.lab.compare._summary import memory_window, summarise
from backstay.lab.compare._verdict import judge, ratio, verdict_of

__all__ = [
    "Check",
    "CompareOptions",
    "Comparison",
    "Machine",
    "Observer",
    "RootCause",
    "Sample",
    "Silent",
    "SourceLine",
    "Tick",
    "VariantResult",
    "VariantRun",
    "compare",
    "conclude",
    "growth_pct_per_min",
    "judge",
    "knee_of",
    "memory_window",
    "merge_findings",
    "ratio",
    "read_source",
    "summarise",
    "theil_sen",
    "verdict_of",
    "write_result",
]
