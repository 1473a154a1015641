"""A scenario is meant by name or by path."""

from __future__ import annotations

from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.lab.scenario import find_scenario


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    folder = tmp_path / "examples/shop/scenarios"
    folder.mkdir(parents=True)
    (folder / "leaky-checkout.toml").write_text("")
    return tmp_path


def test_a_name_is_looked_up_among_the_examples(repository: Path) -> None:
    """A bare word means a file in the shop's scenarios."""
    found = find_scenario("leaky-checkout", repository)
    assert found == repository / "examples/shop/scenarios/leaky-checkout.toml"


def test_in_the_working_directory_the_path_stays_short(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Messages show the path as a person would type it."""
    monkeypatch.chdir(repository)
    assert str(find_scenario("leaky-checkout")) == "examples/shop/scenarios/leaky-checkout.toml"


def test_a_path_is_taken_as_it_is(repository: Path) -> None:
    """Anything with a slash or a suffix is a path, absolute or not."""
    path = repository / "examples/shop/scenarios/leaky-checkout.toml"
    assert find_scenario(str(path), repository) == path
    assert find_scenario("examples/shop/scenarios/leaky-checkout.toml", repository) == path


def test_a_near_miss_gets_a_hint(repository: Path) -> None:
    """A typing slip is answered with the nearest name, a wild guess with all of them."""
    with pytest.raises(UsageError, match="did you mean 'leaky-checkout'"):
        find_scenario("leaky-chekout", repository)
    with pytest.raises(UsageError, match="known names: leaky-checkout"):
        find_scenario("zzz", repository)


def test_elsewhere_the_cure_is_named(tmp_path: Path) -> None:
    """Outside of the repository there are no names, and the message says what to do."""
    with pytest.raises(UsageError, match="go to the repository's root or give a path"):
        find_scenario("leaky-checkout", tmp_path)
    with pytest.raises(UsageError, match="expected a TOML file there"):
        find_scenario("no/such.toml", tmp_path)
