"""How much is offered, and in which words that is said."""

from __future__ import annotations

import pytest

from backstay.lab.calibrate import Knee
from backstay.lab.compare._calibration import offered_rate


@pytest.mark.parametrize(
    ("knee", "rate", "words"),
    [
        (None, 500.0, "was not calibrated"),
        (Knee(900.0, None, True, "plan", ()), 500.0, "at least 900/s"),
        (Knee(833.3, None, True, "plan", ()), 500.0, "as asked"),
        (Knee(400.0, None, False, "target", ()), 240.0, "240 requests/s instead of 500"),
        (Knee(1.0, None, False, "target", ()), 1.0, "1 requests/s instead"),
        (Knee(0.0, None, False, "plan", ()), 500.0, "no knee"),
    ],
)
def test_no_more_than_sixty_percent_of_the_knee_is_offered(
    knee: Knee | None, rate: float, words: str
) -> None:
    """A slow machine gets less, and the sentence says so."""
    offered, why = offered_rate(500.0, knee)
    assert offered == rate
    assert words in why
