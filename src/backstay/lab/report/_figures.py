"""How figures are written for people; the same in the terminal, the report and the picture."""

from __future__ import annotations

import math

__all__ = ["count", "duration_ms", "growth", "memory_mb", "seconds", "share", "times"]


def count(value: float) -> str:
    """Write a number of things: 12,480."""
    return f"{value:,.0f}"


def duration_ms(ms: float) -> str:
    """Write a latency with three digits at most: 4.2 ms, 127 ms, 2.8 s."""
    if ms < 9.95:
        return f"{ms:.1f} ms"
    if ms < 999.5:
        return f"{ms:.0f} ms"
    return f"{ms / 1e3:.1f} s" if ms < 99_950 else f"{ms / 1e3:.0f} s"


def memory_mb(mb: float) -> str:
    """Write a size: 84.2 MB, 1,204 MB."""
    return f"{mb:.1f} MB" if mb < 999.5 else f"{mb:,.0f} MB"


def share(value: float) -> str:
    """Write a share as percent, with more digits the nearer it is to all: 83.1 %, 99.95 %.

    Never rounds up to 100 %, which would be a claim.
    """
    if value >= 1.0:
        return "100 %"
    digits = 1 if value < 0.99 else 2 if value < 0.9995 else 3
    scale = 10.0**digits
    return f"{math.floor(value * 100 * scale) / scale:.{digits}f} %"


def growth(pct_per_min: float | None) -> str:
    """Write how fast memory grows: +18.0 %/min; a dash when it is not known."""
    if pct_per_min is None:
        return "–"
    rounded = round(pct_per_min, 1)
    sign = "+" if rounded > 0 else "−" if rounded < 0 else ""
    return f"{sign}{abs(rounded):.1f} %/min"


def seconds(value: float | None) -> str:
    """Write whole seconds: 4 s; "never" for what did not happen, a dash for what is not known."""
    if value is None:
        return "–"
    return "never" if math.isinf(value) else f"{value:.0f} s"


def times(ratio: float) -> str:
    """Write a ratio: 12.2×."""
    if math.isinf(ratio):
        return "∞×"
    return f"{ratio:.1f}×" if ratio < 99.95 else f"{ratio:,.0f}×"
