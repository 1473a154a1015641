"""The plain-text table of a result."""

from __future__ import annotations

from dataclasses import replace

from load_results import group, result

from backstay.lab.load import LoadOptions, to_text


def test_the_table_has_the_figures_and_fits_80_columns() -> None:
    """Rate, quantiles, failures and the generator's own figures, in lines that do not wrap."""
    run = result(overall=group(1000, failed=1, latency_s=0.25))
    run = replace(
        run,
        kinds={"create": group(300), "read": group(700, failed=1)},
        unaffected=group(700),
        windows={"fault": group(200)},
        notes=("short",),
        options=LoadOptions("http://127.0.0.1:8000", rate=100, duration_s=11.0, warmup_s=1.0),
    )
    text = to_text(run)
    assert "100 requests/s for 11 s (poisson arrivals, seed 1)" in text
    assert "the first 1 s are not judged" in text
    assert "failed: 1 503" in text
    assert "  99.90 %" in text
    for word in (
        "all",
        "create",
        "read",
        "unaffected",
        "fault",
        "250 ms",
        "10.0 ms",
        "note: short",
    ):
        assert word in text
    assert all(len(line) <= 80 for line in text.splitlines()[3:10])
    assert "NOT VALID" not in text


def test_an_invalid_run_says_so() -> None:
    """The reason stands where it cannot be overlooked: last."""
    assert to_text(result(reasons=("too late",))).endswith("NOT VALID: too late")


def test_a_success_rate_is_never_rounded_up_to_100() -> None:
    """One failure in a million is not 100.00 %."""
    assert "99.99 %" in to_text(result(overall=group(1_000_000, failed=1)))
    assert "100.00 %" in to_text(result(overall=group(1_000_000)))


def test_long_latencies_are_shown_in_seconds() -> None:
    """Sixty seconds read better than 60,000 ms."""
    assert "60.0 s" in to_text(result(overall=group(10, latency_s=60.0)))
