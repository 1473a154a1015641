"""Which rooms answer on an admin plane besides its documents."""

from __future__ import annotations

from collections.abc import Callable

from backstay.observe.desk import Desk
from backstay.observe.probe import ProbeDesk
from backstay.observe.profile import make_desk
from backstay.observe.recorder import RecorderDesk
from backstay.observe.ui import make_desks

__all__ = ["find_desk", "open_desks"]


def open_desks(
    blocks: Callable[[], object], address: Callable[[], str], token: str
) -> tuple[Desk, ...]:
    """Return the desks of a plane.

    Args:
        blocks: returns the statistics of the `Sysmon` that watches the loops, or None.
        address: where the plane listens, once it does.
        token: that it wants; "" for none.
    """
    profiles = make_desk(blocks)
    return (profiles, ProbeDesk(), RecorderDesk(), *make_desks(profiles, address, token))


def find_desk(desks: tuple[Desk, ...], path: str) -> Desk | None:
    """Return the desk that owns a path: the one with the longest prefix of it."""
    below = f"{path}/"
    owners = [
        (len(one), desk) for desk in desks for one in desk.prefixes if below.startswith(f"{one}/")
    ]
    return max(owners, key=lambda owner: owner[0])[1] if owners else None
