"""The metrics of this process in a registry of `prometheus_client`, beside those of the application.

    from prometheus_client import REGISTRY
    from backstay.integrations.prometheus import BackstayCollector

    REGISTRY.register(BackstayCollector())

Needs ``backstay[prometheus]``. Tested with prometheus_client 0.26.

Who has no registry needs none: the admin plane serves ``/metrics`` by itself, and
`backstay.integrations.metrics_app` mounts it in an application. In the multiprocess mode of prometheus_client
a collector of one process is not asked; there, use ``metrics_app.metrics(workers=True)``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from prometheus_client.core import Metric
from prometheus_client.registry import Collector as RegistryCollector
from prometheus_client.samples import Exemplar, Timestamp

from backstay.observe.metrics import Collector, Family

__all__ = ["BackstayCollector", "as_metrics"]


class BackstayCollector(RegistryCollector):
    """Hands the metrics of Backstay to a registry, at each scrape of it.

    All names begin with ``backstay_``, so that they stand beside those of other collectors, the
    ``process_`` and ``python_gc_`` of `prometheus_client` among them.

    Cost: that of `Collector.collect`. Called on the thread of a loop it does not wait for the loops, and
    shows how late they were when somebody last asked from another thread.
    """

    def __init__(self, collector: Collector | None = None) -> None:
        """Read with `collector`; with one of its own when omitted, started from now on."""
        self._collector = collector or Collector().start()

    def describe(self) -> Iterable[Metric]:
        """Return nothing: what there is depends on what lives, and registering must not read it."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Return the metrics as they are now."""
        return list(as_metrics(self._collector.collect()))


def as_metrics(families: Iterable[Family]) -> Iterator[Metric]:
    """Turn families into those of `prometheus_client`, exemplars included."""
    for family in families:
        metric = Metric(family.name, family.help, family.kind, family.unit)
        for row in family.samples:
            case = row.exemplar
            shown = None
            if case is not None:
                at = None if case.at is None else Timestamp(int(case.at), int(case.at % 1 * 1e9))
                shown = Exemplar({"trace_id": case.trace_id}, case.value, at)
            metric.add_sample(family.name + row.suffix, dict(row.labels), row.value, exemplar=shown)
        yield metric
