"""Spans of OpenTelemetry for messages: one where each is published, one around its handler.

Extra: ``pip install backstay[opentelemetry]``. Tested with opentelemetry 1.45, and brokers as `lifecycle.Consumer`.

    with publish_span("orders.paid", "nats") as headers:
        await jetstream.publish("orders.paid", payload, headers=headers)

    handler = traced_handler(ship, "orders.paid", "nats", group="fulfilment")
    consumer = Consumer("orders", subscription, handler)

The trace travels in the headers of the message, so it needs no instrumentation of the broker's client, and a
broker without headers has none to carry it. Each attempt at a message is a span of its own.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from typing import Literal

from opentelemetry import trace
from opentelemetry.trace import Link, SpanKind

from backstay.context import TRACE_HEADER, identity_headers
from backstay.integrations._spans import CurrentSpan, below, default_tracer, remote
from backstay.lifecycle import Delivery

__all__ = ["publish_span", "traced_handler"]


@contextmanager
def publish_span(
    destination: str,
    system: str,
    headers: Mapping[str, str] | None = None,
    *,
    message_id: str | None = None,
    tracer: trace.Tracer | None = None,
) -> Generator[dict[str, str]]:
    """Record a span of kind "producer" for the block, which publishes one message.

    Args:
        destination: subject, topic or stream: one of few. A subject with ids in it is named by its pattern.
        system: "nats", "redis", …: what OpenTelemetry calls the broker.
        headers: of the message, sent along.
        message_id: the publisher's name of it.
        tracer: of OpenTelemetry; that of the global provider when omitted.

    Yields:
        The headers to publish the message with: yours, and those of `backstay.context.identity_headers()`, whose
        traceparent names this span.

    An error that leaves the block, or a cancel, makes it an error.

    Cost: what the SDK takes for a span, and some 20 microseconds; without one, what the headers cost.
    """
    told = _told("send", destination, system, message_id)
    record = (tracer or default_tracer()).start_span(
        f"send {destination}", kind=SpanKind.PRODUCER, attributes=told
    )
    if not record.get_span_context().is_valid:  # no SDK, and nobody around has one
        yield {**(headers or {}), **identity_headers()}
        return
    with CurrentSpan(record):
        yield {**(headers or {}), **identity_headers()}


def traced_handler(
    handler: Callable[[Delivery], Awaitable[object]],
    destination: str,
    system: str,
    *,
    group: str | None = None,
    relation: Literal["child", "link"] = "child",
    tracer: trace.Tracer | None = None,
) -> Callable[[Delivery], Awaitable[object]]:
    """Give each attempt at a message one span of kind "consumer", related to the one that has published it.

    Args:
        handler: does the work for one; see `lifecycle.Consumer`.
        destination: subject, topic or stream, as for `publish_span`.
        system: what OpenTelemetry calls the broker.
        group: of consumers: the durable name, the consumer group.
        relation: "child": the handling belongs to the publisher's trace, as the consumer's scope does. "link": it
            begins a trace of its own, which names the publisher's; for messages that wait for hours, or
            come to many.
        tracer: of OpenTelemetry; that of the global provider when omitted.

    Returns:
        The handler for the consumer.

    An error, the deadline of the handling and a cancel make the span an error. Logs and calls inside name the
    span's trace. A message without a trace, or with a link, is handled in a trace that the span begins; the scope
    around it was named by the consumer before that.

    Cost: what the SDK takes for a span, and some 20 microseconds where one records; two where none does.
    """
    source = tracer or default_tracer()
    name = f"process {destination}"
    always = _told("process", destination, system, None)
    if group is not None:
        always["messaging.consumer.group.name"] = group

    async def handle(delivery: Delivery) -> object:
        sender = remote(delivery.headers.get(TRACE_HEADER, ""))
        linked = sender is not None and relation == "link"
        record = source.start_span(
            name,
            context=below(None if linked else sender),
            kind=SpanKind.CONSUMER,
            attributes={
                **always,
                "messaging.message.id": delivery.message_id,
                "backstay.message.attempt": delivery.attempt,
            },
            links=[Link(sender)] if sender is not None and linked else (),
        )
        if not record.get_span_context().is_valid:  # no SDK, and nobody who publishes has one
            return await handler(delivery)
        with CurrentSpan(record):
            return await handler(delivery)

    return handle


def _told(
    operation: str, destination: str, system: str, message_id: str | None
) -> dict[str, str | int]:
    told: dict[str, str | int] = {
        "messaging.system": system,
        "messaging.destination.name": destination,
        "messaging.operation.name": operation,
        "messaging.operation.type": operation,
    }
    if message_id is not None:
        told["messaging.message.id"] = message_id
    return told
