"""Metrics: pulled from what every room counts anyway, at the moment of a scrape.

The admin plane serves them at ``/metrics``, `backstay.integrations.metrics_app` in an application, and
`backstay.integrations.prometheus` hands them to a registry of `prometheus_client`.
"""

from backstay.observe.metrics._collector import Collector, Sources
from backstay.observe.metrics._families import Exemplar, Family, Kind, Labels, Page, Sample
from backstay.observe.metrics._life_figures import Watchable, unwatch, watch
from backstay.observe.metrics._pages import from_document, side_by_side, to_document
from backstay.observe.metrics._text import (
    OPENMETRICS,
    PLAIN_TEXT,
    encode,
    openmetrics,
    plain_text,
    wanted,
)

__all__ = [
    "OPENMETRICS",
    "PLAIN_TEXT",
    "Collector",
    "Exemplar",
    "Family",
    "Kind",
    "Labels",
    "Page",
    "Sample",
    "Sources",
    "Watchable",
    "encode",
    "from_document",
    "openmetrics",
    "plain_text",
    "side_by_side",
    "to_document",
    "unwatch",
    "wanted",
    "watch",
]
