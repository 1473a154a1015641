"""The other forms of a profile: speedscope's document, folded stacks and the top functions."""

from __future__ import annotations

import json

from backstay.observe.profile import Frame, Profile, Sample, to_folded, to_speedscope, top

LEAF, ROOT = Frame("get", "/lib/queues.py", 155), Frame("work;x", "/app/a.py", 7)
PROFILE = Profile(
    (("samples", "count"), ("cpu", "nanoseconds")),
    (Sample((LEAF, ROOT), (3, 30)), Sample((ROOT,), (1, 10)), Sample((), (1, 5), (("k", "v"),))),
)


def test_speedscope_gets_a_view_for_each_kind() -> None:
    """Stacks from the root to the leaf as places in one list of frames; weights add up to the end."""
    document = json.loads(json.dumps(to_speedscope(PROFILE, name="cpu")))
    assert document["$schema"] == "https://www.speedscope.app/file-format-schema.json"
    frames = document["shared"]["frames"]
    assert {"name": "get", "file": "/lib/queues.py", "line": 155} in frames
    counts, cpu = document["profiles"]
    assert (counts["unit"], cpu["unit"], document["activeProfileIndex"]) == (
        "none",
        "nanoseconds",
        1,
    )
    for view in document["profiles"]:
        assert view["type"] == "sampled"
        assert len(view["samples"]) == len(view["weights"])
        assert view["endValue"] == sum(view["weights"])
        assert all(0 <= place < len(frames) for stack in view["samples"] for place in stack)
    assert [frames[place]["name"] for place in cpu["samples"][0]] == ["work;x", "get"]


def test_speedscope_has_no_place_for_less_than_nothing() -> None:
    """The shrunk stacks of a diff are left out of a flame graph."""
    profile = Profile((("tasks", "count"),), (Sample((LEAF,), (-2,)), Sample((ROOT,), (4,))))
    (view,) = to_speedscope(profile)["profiles"]
    assert view["weights"] == [4]


def test_folded_stacks_have_one_line_each() -> None:
    """Outermost first, a semicolon in a name replaced, samples that differ in labels only added up."""
    assert to_folded(PROFILE) == (
        "work:x (/app/a.py:7);get (/lib/queues.py:155) 30\nwork:x (/app/a.py:7) 10\n? 5\n"
    )


def test_the_top_functions_count_recursion_once() -> None:
    """`flat` is what a function uses itself, `cum` what it uses with all it calls."""
    deep = Profile(
        (("cpu", "nanoseconds"),), (Sample((LEAF, ROOT, ROOT), (5,)), Sample((ROOT,), (1,)))
    )
    rows = top(deep)
    assert [(row["function"], row["flat"], row["cum"]) for row in rows] == [
        ("get", 5, 5),
        ("work;x", 1, 6),
    ]
    assert len(top(deep, rows=1)) == 1
