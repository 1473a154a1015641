"""What a failure of gRPC's means for the effect of a call."""

from __future__ import annotations

import grpc
import grpc.aio
import pytest

from backstay.integrations.etcd._channel import CHANNEL_OPTIONS, _failed


@pytest.mark.parametrize(
    ("code", "detail", "effect"),
    [
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: no leader", "none"),
        (grpc.StatusCode.RESOURCE_EXHAUSTED, "etcdserver: too many requests", "none"),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: request timed out", "maybe"),
        (grpc.StatusCode.UNAVAILABLE, "etcdserver: leader changed", "maybe"),
        (grpc.StatusCode.UNAVAILABLE, "Socket closed", "maybe"),
        (grpc.StatusCode.DEADLINE_EXCEEDED, "", "maybe"),
        (
            grpc.StatusCode.RESOURCE_EXHAUSTED,
            "etcdserver: mvcc: database space exceeded",
            "refused",
        ),
        (grpc.StatusCode.NOT_FOUND, "etcdserver: requested lease not found", "refused"),
        (grpc.StatusCode.PERMISSION_DENIED, "etcdserver: permission denied", "refused"),
    ],
)
def test_what_is_known_of_the_effect(code: grpc.StatusCode, detail: str, effect: str) -> None:
    """A member without a leader has not looked at the request; of most others nobody knows."""
    nothing = grpc.aio.Metadata()
    failed = _failed(grpc.aio.AioRpcError(code, nothing, nothing, detail), "m:1")
    assert (failed.effect, failed.code, failed.member) == (effect, code.name, "m:1")
    assert failed.detail


def test_pings_are_not_so_frequent_that_etcd_hangs_up() -> None:
    """It wants 5 s between two of them, and none while no call runs."""
    options = dict(CHANNEL_OPTIONS)
    assert options["grpc.keepalive_time_ms"] > 5000
    assert options["grpc.keepalive_permit_without_calls"] == 0
