"""Log records and structlog events say which request, trace and owner they are about."""

from __future__ import annotations

import io
import json
import logging

import structlog

from backstay import Scope, bind
from backstay.context import REQUEST_ID, TRACE
from backstay.integrations.logs import ContextFilter, JsonFormatter
from backstay.integrations.structlog import add_context

TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736"


def logger_into(stream: io.StringIO, name: str) -> logging.Logger:
    handler = logging.StreamHandler(stream)
    handler.addFilter(ContextFilter())
    handler.setFormatter(JsonFormatter())
    logger = logging.getLogger(name)
    logger.handlers, logger.propagate = [handler], False
    logger.setLevel(logging.INFO)
    return logger


async def test_a_record_names_request_trace_and_owner() -> None:
    """Also in a task that the request has started; outside of one the ids are left out."""
    stream = io.StringIO()
    logger = logger_into(stream, "test.logs.records")

    async def work() -> None:
        logger.info("deep inside", extra={"sku": "winch", "owner": "said otherwise"})

    logger.info("at %s", "start")
    with bind(REQUEST_ID, "r1"), bind(TRACE, TRACE_ID):
        async with Scope("checkout") as scope:
            logger.warning("in the request")
            scope.go(work)
    first, second, third = map(json.loads, stream.getvalue().splitlines())
    assert (first["message"], first["level"]) == ("at start", "INFO")
    assert not {"request_id", "trace_id", "owner"} & set(first)
    assert (second["request_id"], second["trace_id"], second["owner"]) == (
        "r1",
        TRACE_ID,
        "checkout",
    )
    assert second["logger"] == "test.logs.records"
    assert second["time"].endswith("Z")
    assert (third["request_id"], third["sku"]) == ("r1", "winch")
    assert third["owner"] == "said otherwise", "what the caller gave stays"


def test_errors_and_strange_values_are_written() -> None:
    """One line of JSON, whatever is in it."""
    stream = io.StringIO()
    logger = logger_into(stream, "test.logs.errors")
    try:
        raise ValueError("bad\nline")
    except ValueError:
        logger.exception("failed", extra={"what": {1, 2}.__class__})
    (line,) = stream.getvalue().splitlines()
    document = json.loads(line)
    assert "ValueError: bad" in document["error"]
    assert document["what"] == "<class 'set'>"


async def test_events_of_structlog_carry_the_same() -> None:
    """What was bound by hand stays."""
    log = structlog.wrap_logger(
        structlog.ReturnLogger(), processors=[add_context, structlog.processors.JSONRenderer()]
    )
    with bind(REQUEST_ID, "r2"):
        async with Scope("consumer"):
            event = json.loads(log.info("took it", owner="mine"))
    assert event == {"event": "took it", "owner": "mine", "request_id": "r2"}
    assert json.loads(log.info("alone")) == {"event": "alone"}
