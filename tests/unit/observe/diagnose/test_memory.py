"""Allocations by line, from a heap profile."""

from __future__ import annotations

from backstay.observe.diagnose import Allocation, allocations
from backstay.observe.profile import Frame, Profile, Sample

KINDS = (("inuse_objects", "count"), ("inuse_space", "bytes"))


def test_lines_are_ranked_by_what_they_hold() -> None:
    """The innermost frame is the line; what was freed on balance is left out."""
    caller = Frame("main", "app.py", 1)
    profile = Profile(
        KINDS,
        (
            Sample((Frame("a", "app.py", 7), caller), (2, 300)),
            Sample((Frame("a", "app.py", 7),), (1, 50)),
            Sample((Frame("b", "app.py", 9),), (1, 900)),
            Sample((Frame("c", "app.py", 11),), (-4, -100)),
            Sample((Frame("a type", "", 0),), (1, 10)),
            Sample((), (1, 10)),
        ),
    )
    assert allocations(profile) == (
        Allocation("app.py:9", 1, 900),
        Allocation("app.py:7", 3, 350),
        Allocation("a type", 1, 10),
    )
    assert len(allocations(profile, most=1)) == 1
