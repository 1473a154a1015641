"""Channels and select: Go's way for tasks to hand each other items."""

from backstay.channels._channel import Channel, ChannelStatistics
from backstay.channels._flows import fan_in, fan_out, merge, pipeline
from backstay.channels._select import DEFAULT, Case, Selected, select
from backstay.channels._timers import Ticker, TickerStatistics, after
from backstay.channels._views import RecvOnly, SendOnly

__all__ = [
    "DEFAULT",
    "Case",
    "Channel",
    "ChannelStatistics",
    "RecvOnly",
    "Selected",
    "SendOnly",
    "Ticker",
    "TickerStatistics",
    "after",
    "fan_in",
    "fan_out",
    "merge",
    "pipeline",
    "select",
]
