"""Options of a load run: what is refused, in which words, and the round trip."""

from __future__ import annotations

import json
from typing import Any

import pytest

from backstay.errors import UsageError
from backstay.lab.load import LoadOptions, Window

GOOD: dict[str, Any] = {"base_url": "http://127.0.0.1:8000", "rate": 200.0, "duration_s": 10.0}


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("rate", 0, "rate is 0"),
        ("rate", -1, "rate is -1"),
        ("rate", float("nan"), "rate is nan"),
        ("rate", float("inf"), "rate is inf"),
        ("rate", 1e9, "at most 20000 requests per second"),
        ("rate", "fast", "rate is 'fast'"),
        ("rate", True, "rate is True"),
        ("duration_s", 0, "duration is 0"),
        ("duration_s", -3.0, "duration is -3.0"),
        ("duration_s", float("nan"), "duration is nan"),
        ("duration_s", 1e9, "at most 86400 seconds"),
        ("timeout_s", 0, "timeout is 0"),
        ("timeout_s", 61, "at most 60 seconds"),
        ("max_lag_p99_s", -1, "max_lag_p99 is -1"),
        ("warmup_s", 10.0, "leaves nothing to judge"),
        ("warmup_s", -1.0, "leaves nothing to judge"),
        ("warmup_s", float("nan"), "leaves nothing to judge"),
        ("arrivals", "bursty", "unknown arrivals 'bursty'; expected poisson or constant"),
        ("priority", "low", "unknown priority 'low'"),
        ("loop", "trio", "unknown loop 'trio'"),
        ("connections", 0, "connections is 0"),
        ("connections", 10**6, "expected 1 to 10000"),
        ("base_url", "https://127.0.0.1", "scheme 'https'"),
        ("base_url", "127.0.0.1:8000", "expected http://host:port"),
        ("base_url", "http://", "no host"),
        ("base_url", "http://h:99999", "bad URL"),
        ("base_url", "http://h:0", "port 0"),
        ("base_url", "http://h/path", "nothing behind it"),
        ("base_url", "http://user@h", "nothing behind it"),
        ("base_url", "http://[::1", "bad URL"),
    ],
)
def test_a_bad_value_is_named_in_one_line(field: str, value: object, words: str) -> None:
    """Each slip is a UsageError of one line that shows the value."""
    with pytest.raises(UsageError) as caught:
        LoadOptions(**{**GOOD, field: value})
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)


def test_too_many_requests_for_memory_are_refused() -> None:
    """A rate and a length that are fine alone may be too much together."""
    with pytest.raises(UsageError, match="72,000,000 requests"):
        LoadOptions("http://h", rate=20_000, duration_s=3600)


@pytest.mark.parametrize(
    ("start", "end"), [(2.0, 1.0), (-1.0, 1.0), (1.0, 1.0), (0.0, float("inf"))]
)
def test_an_impossible_window_is_refused(start: float, end: float) -> None:
    """A window runs forwards, inside finite time."""
    with pytest.raises(UsageError, match="window 'fault'"):
        Window("fault", start, end)


def test_options_survive_json() -> None:
    """The worker gets exactly what was asked for."""
    options = LoadOptions(**GOOD, seed=9, arrivals="constant", windows=(Window("fault", 1.0, 2.0),))
    assert LoadOptions.from_json(json.loads(json.dumps(options.to_json()))) == options
