"""Dice: seeded ones repeat themselves, and the others do so once everything is reseeded."""

from __future__ import annotations

from backstay._base import Chance, random, reseed


def test_a_seed_gives_a_sequence() -> None:
    """The same seed, the same numbers; another seed, others."""
    assert Chance(3).random() == Chance(3).random() != Chance(4).random()


def test_reseeding_reaches_all_that_have_no_seed_of_their_own() -> None:
    """Those that are there, those made later, and the shared one; a seeded one is left alone."""
    before = Chance()
    seeded = Chance(9)

    def rolls() -> list[float]:
        later, second = Chance(), Chance()
        return [before.random(), random(), later.random(), second.random()]

    reseed(1)
    seeded_first = seeded.random()
    first = rolls()
    assert len(set(first)) >= 3
    reseed(1)
    assert rolls() == first
    assert seeded.random() != seeded_first
    reseed(2)
    assert rolls() != first
    reseed(None)
    assert rolls() != rolls()
