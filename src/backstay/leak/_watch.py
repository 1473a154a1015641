"""From reports to the outside: a hook and a log record for each new verdict, and figures for metrics.

A report is a page for somebody who asks. Nobody asks at night; so a `Watch` compares each report
with the one before, and tells what is new, once, with the trace ids that lead to the request.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from backstay._base import LeakFound, leak_found
from backstay.leak._finding import Finding
from backstay.leak._report import Report

__all__ = ["Watch", "WatchStatistics"]

_log = logging.getLogger("backstay.leak")

_MOST_SITES = 50  # with a label of their own; a metric must not grow with the leak
_OTHERS = "other"

_Key = tuple[str, str]
"""Verdict and spawn site."""


@dataclass(frozen=True, slots=True)
class WatchStatistics:
    """What is accused now, and what has been told so far; all of it bounded."""

    reports: int
    told: int  # verdicts told as new
    withdrawn: int  # verdicts that were gone in a later report
    findings: Mapping[str, int]  # now, by verdict
    tasks: Mapping[_Key, int]  # accused now, by verdict and spawn site; sites beyond 50 are "other"
    bytes_held: int  # by all of these, at least


class Watch:
    """Tells each new verdict once: to the hook `leak_found`, and to the logger "backstay.leak".

    ::

        watch = leak.Watch()
        ...
        watch.see(leak.report(sampler, proof=prover.look()))  # now and then, in any one thread

    The log record is a warning and carries `verdict`, `site`, `owner`, `count`, `bytes_held`,
    `trace_ids` and `advice` as attributes, for formatters that write JSON. That a verdict has gone is told
    at level INFO. A verdict that comes back is told again.
    """

    def __init__(self, *, log: bool = True) -> None:
        """Start with nothing told.

        Args:
            log: whether to write log records; the hook is always served.
        """
        self._logs = log
        self._now: dict[_Key, Finding] = {}
        self._reports = self._told = self._withdrawn = 0

    def see(self, report: Report) -> tuple[Finding, ...]:
        """Compare a report with the one before; return the findings that are new.

        Cost: some microseconds a finding.
        """
        self._reports += 1
        before, self._now = self._now, {(one.verdict, one.site): one for one in report.findings}
        new = tuple(one for key, one in self._now.items() if key not in before)
        gone = [key for key in before if key not in self._now]
        self._told += len(new)
        self._withdrawn += len(gone)
        for one in new:
            self._tell(one)
        if self._logs:
            for verdict, site in gone:
                _log.info("%s at %s is no longer found", verdict, site)
        return new

    def statistics(self) -> WatchStatistics:
        """Return figures for metrics; callable from any thread."""
        findings = [*self._now.values()]
        tasks: Counter[_Key] = Counter()
        named: set[str] = set()
        for one in findings:
            site = one.site if one.site in named or len(named) < _MOST_SITES else _OTHERS
            named.add(site)
            tasks[one.verdict, site] += one.count
        return WatchStatistics(
            reports=self._reports,
            told=self._told,
            withdrawn=self._withdrawn,
            findings=MappingProxyType(dict(Counter(one.verdict for one in findings))),
            tasks=MappingProxyType(dict(tasks)),
            bytes_held=sum(one.bytes_held or 0 for one in findings),
        )

    def _tell(self, one: Finding) -> None:
        if leak_found:
            leak_found.emit(
                LeakFound(
                    verdict=one.verdict,
                    site=one.site,
                    function=one.function,
                    owner=one.owner,
                    count=one.count,
                    bytes_held=one.bytes_held,
                    blocked_on=one.blocked_on,
                    trace_ids=one.trace_ids,
                    advice=one.advice,
                )
            )
        if self._logs:
            _log.warning(
                "%s: %d tasks started at %s wait for %s; traces: %s. %s",
                one.verdict,
                one.count,
                one.site,
                one.blocked_on or "nothing",
                ", ".join(one.trace_ids) or "none known",
                one.advice,
                extra={
                    "verdict": one.verdict,
                    "site": one.site,
                    "owner": one.owner,
                    "count": one.count,
                    "bytes_held": one.bytes_held,
                    "trace_ids": one.trace_ids,
                    "advice": one.advice,
                },
            )
