"""The file of spans that `backstay run --spans` writes."""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from backstay.errors import UsageError

__all__ = ["span_file"]


@contextmanager
def span_file(args: argparse.Namespace, target: str) -> Generator[Callable[[Any], Any]]:
    """Record all spans of the block to the file that is wanted, if one is.

    Args:
        args: of `run`.
        target: what is run; the service's name unless OTEL_SERVICE_NAME gives one.

    Yields:
        What to put around an ASGI application, so that each request is a span.

    Raises:
        UsageError: OpenTelemetry is not there, or the file cannot be written.
    """
    if args.spans is None:
        yield lambda app: app
        return
    path = Path(args.spans)
    try:
        path.open("ab").close()
    except OSError as error:
        raise UsageError(f"--spans: cannot write {args.spans!r}: {error.strerror}") from error
    try:
        from backstay.integrations.opentelemetry import traced, write_spans

        provider = write_spans(path, service=os.environ.get("OTEL_SERVICE_NAME") or target)
    except ImportError as error:
        raise UsageError(
            f"--spans records with OpenTelemetry, and there is no {error.name or 'such module'}: "
            "pip install 'backstay[opentelemetry]' opentelemetry-sdk opentelemetry-exporter-otlp-json-file"
        ) from error
    try:
        yield traced
    finally:
        provider.shutdown()
