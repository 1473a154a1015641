"""How many jobs start in one turn."""

from __future__ import annotations

from backstay.multiloop._burst import BURST_S, Burst


def run(burst: Burst, cost: float, at: float = 0.0) -> int:
    """Let a whole burst of jobs pass that take `cost` seconds each; return how many started."""
    started = 0
    for _ in range(burst.size):
        if burst.may_start(at):
            started += 1
            at += cost
    burst.over(at)
    return started


def test_it_grows_while_jobs_are_quick() -> None:
    """1, 2, 4, … up to 32 starts in a turn."""
    burst = Burst()
    assert [run(burst, 1e-6) for _ in range(7)] == [1, 2, 4, 8, 16, 32, 32]


def test_one_that_blocks_ends_the_burst() -> None:
    """Those behind it stay in the queue, where others can take them."""
    burst = Burst()
    for _ in range(6):
        run(burst, 1e-6)
    assert run(burst, 0.02) == 1
    assert burst.size == 1
    assert run(burst, 0.02) == 1, "the first of a burst may always start"


def test_it_falls_to_what_fits() -> None:
    """Twenty microseconds each: ten fit, and the guess moves there."""
    burst = Burst()
    sizes = []
    for _ in range(40):
        run(burst, 20e-6)
        sizes.append(burst.size)
    assert max(sizes[10:]) <= 2 * BURST_S / 20e-6
    assert min(sizes[10:]) >= 2


def test_a_turn_without_starts_teaches_nothing() -> None:
    """Coming round with an empty queue leaves the guess as it is."""
    burst = Burst()
    run(burst, 1e-6)
    assert burst.size == 2
    burst.over(5.0)
    assert burst.size == 2
