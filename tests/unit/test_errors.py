"""The error tree: what is caught by what, and that errors survive a trip to another process."""

from __future__ import annotations

import pickle

import pytest

from backstay import errors


def test_the_tree_is_as_drawn() -> None:
    """The bases stated in the drawing hold, standard ones included."""
    assert issubclass(errors.NoOwner, errors.BackstayError)
    assert issubclass(errors.NoOwner, RuntimeError)
    assert issubclass(errors.DeadlineExceeded, TimeoutError)
    assert issubclass(errors.TargetGone, errors.UsageError)
    assert issubclass(errors.FullError, errors.Rejected)
    for name in errors.__all__:
        assert issubclass(getattr(errors, name), errors.BackstayError)
        assert name in (errors.__doc__ or ""), f"{name} is missing in the drawing"


@pytest.mark.parametrize(
    "error",
    [
        errors.DeadlineExceeded("checkout", 2.0),
        errors.DeadlineExceeded("checkout"),
        errors.FullError("too many", policy="pool", retry_after=1.5),
        errors.ExpiredError("too late", policy="edge"),
        errors.Cancelled("enough"),
        errors.LockMisuse("not yours", lock="cache", holder="worker-1", held_s=3.2),
        errors.BarrierBroken("a party left"),
        errors.UsageError("bad flag"),
    ],
)
def test_errors_survive_pickling(error: errors.BackstayError) -> None:
    """An error raised in a worker process arrives whole."""
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is type(error)
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_a_rejection_says_who_why_and_when() -> None:
    """Reason for machines, policy for people, retry_after for both."""
    error = errors.FullError("no place", policy="payments", retry_after=0.5)
    assert (error.reason, error.policy, error.retry_after) == ("full", "payments", 0.5)
