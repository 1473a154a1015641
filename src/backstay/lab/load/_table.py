"""A load result as plain text."""

from __future__ import annotations

from backstay.lab.load._result import GroupSummary, LoadResult

__all__ = ["to_text"]

_COLUMNS = ("requests", "success", "p50", "p90", "p99", "p99.9", "max")


def to_text(result: LoadResult) -> str:
    """Return the result as a table of plain text that fits a terminal of 80 columns."""
    options = result.options
    lines = [
        f"{options.rate:g} requests/s for {options.duration_s:g} s ({options.arrivals} arrivals, "
        f"seed {options.seed}) at {options.base_url}",
        _scope_of_judgement(result),
        "",
        _row("", _COLUMNS),
        _group_row("all", result.overall),
    ]
    if len(result.kinds) > 1:
        lines += [_group_row(f"  {name}", group) for name, group in result.kinds.items()]
    if 0 < result.unaffected.requests < result.overall.requests:
        lines.append(_group_row("unaffected", result.unaffected))
    lines += [_group_row(name, group) for name, group in result.windows.items()]
    lines.append("")
    if result.overall.errors:
        failures = ", ".join(f"{count:,} {kind}" for kind, count in result.overall.errors.items())
        lines.append(f"failed: {failures}")
    lines.append(
        f"generator: lag p99 {_ms(result.lag.p99_s)}, "
        f"{result.cpu_s_per_request * 1e3:.2f} ms CPU a request, "
        f"{result.connections_opened:,} connections opened"
    )
    lines += [f"note: {note}" for note in result.notes]
    lines += [f"NOT VALID: {reason}" for reason in result.reasons]
    return "\n".join(lines)


def _scope_of_judgement(result: LoadResult) -> str:
    head = f"offered {result.offered_rps:.1f}/s, answered well {result.achieved_rps:.1f}/s"
    if result.options.warmup_s:
        head += f"; the first {result.options.warmup_s:g} s are not judged"
    return f"{head}; latency counts from the intended start"


def _group_row(name: str, group: GroupSummary) -> str:
    latency = group.latency
    values = (latency.p50_s, latency.p90_s, latency.p99_s, latency.p999_s, latency.max_s)
    return _row(
        name,
        (
            f"{group.requests:,}",
            f"{_floor_percent(group)} %",
            *(_ms(value) for value in values),
        ),
    )


def _row(name: str, cells: tuple[str, ...]) -> str:
    return (f"{name:<13.13}" + "".join(f"{cell:>9}" for cell in cells)).rstrip()


def _floor_percent(group: GroupSummary) -> str:
    """Round down, so that 100.00 means that not one request failed."""
    return f"{int(group.success_rate * 10_000) / 100:.2f}" if group.failed else "100.00"


def _ms(seconds: float) -> str:
    if seconds >= 10:
        return f"{seconds:.1f} s"
    milliseconds = seconds * 1e3
    return f"{milliseconds:.1f} ms" if milliseconds < 100 else f"{milliseconds:,.0f} ms"
