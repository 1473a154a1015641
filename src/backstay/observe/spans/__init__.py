"""Spans read back from files of OTLP in JSON: a table of services, and the waterfall of one request.

What `integrations.opentelemetry.write_spans` writes, and what a collector writes with its file exporter.
"""

from backstay.observe.spans._critical import Share, critical_path
from backstay.observe.spans._read import ReadSpans, read_spans
from backstay.observe.spans._span import SpanRecord, Tree, trees
from backstay.observe.spans._table import ServiceRow, service_table, table_to_text
from backstay.observe.spans._waterfall import Bar, waterfall, waterfall_to_text

__all__ = [
    "Bar",
    "ReadSpans",
    "ServiceRow",
    "Share",
    "SpanRecord",
    "Tree",
    "critical_path",
    "read_spans",
    "service_table",
    "table_to_text",
    "trees",
    "waterfall",
    "waterfall_to_text",
]
