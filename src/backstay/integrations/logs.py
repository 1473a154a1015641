"""Records of the standard `logging` that say which request, trace and owner they are about.

    handler.addFilter(ContextFilter())
    handler.setFormatter(JsonFormatter())

Put the filter on handlers, and not on loggers: a filter of a logger is not asked for records of its children.
"""

from __future__ import annotations

import json
import logging
import time
from typing import Any, Final

from backstay.integrations._identity import identity

__all__ = ["ContextFilter", "JsonFormatter"]

_STANDARD: Final = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class ContextFilter(logging.Filter):
    """Gives each record `request_id`, `trace_id` and `owner`; "" for what is not known.

    What a record has already, by `extra=`, is left as it is. It refuses no record.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        """Add what is missing."""
        known = identity()
        for name in ("request_id", "trace_id", "owner"):
            if not hasattr(record, name):
                setattr(record, name, known.get(name, ""))
        return True


class JsonFormatter(logging.Formatter):
    """Writes a record as one line of JSON: time, level, logger, message, ids, and what `extra=` gave.

    A value that JSON does not know is written as its `repr`; empty ids are left out.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Return the line."""
        moment = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
        line: dict[str, Any] = {
            "time": f"{moment}.{int(record.msecs):03d}Z",
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {
            name: value
            for name, value in vars(record).items()
            if name not in _STANDARD and value != ""
        }
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        return json.dumps(line, default=repr, ensure_ascii=False)
