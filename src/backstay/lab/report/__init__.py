"""What people see of a comparison: the report, the picture, the table and the live progress."""

from backstay.lab.report._figures import count, duration_ms, growth, memory_mb, share, times
from backstay.lab.report._page import page, write_page
from backstay.lab.report._picture import picture, write_picture
from backstay.lab.report._progress import LiveProgress, PlainProgress, progress_for
from backstay.lab.report._series import raw_data
from backstay.lab.report._soak_picture import soak_picture, write_soak_picture
from backstay.lab.report._table import Row, pair, rows
from backstay.lab.report._terminal import ansi_paint, no_paint, to_text

__all__ = [
    "LiveProgress",
    "PlainProgress",
    "Row",
    "ansi_paint",
    "count",
    "duration_ms",
    "growth",
    "memory_mb",
    "no_paint",
    "page",
    "pair",
    "picture",
    "progress_for",
    "raw_data",
    "rows",
    "share",
    "soak_picture",
    "times",
    "to_text",
    "write_page",
    "write_picture",
    "write_soak_picture",
]
