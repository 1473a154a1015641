"""The line of jobs against a list: who begins next, whatever comes, ends and is dropped."""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import given, settings
from hypothesis import strategies as st

from backstay.guard.rules.job_queue import JobOrder, JobQueue, Place

KEYS = [None, None, "a", "b", "c"]


@dataclass
class Model:
    """A list of those who wait, and the keys that are under way."""

    order: JobOrder
    line: list[tuple[int, str | None]] = field(default_factory=list)
    under_way: set[str] = field(default_factory=set)

    def take(self) -> tuple[int, str | None] | None:
        could: list[tuple[int, str | None]] = []
        met: set[str] = set()
        for entry in self.line:  # the oldest first
            key = entry[1]
            if key is None or (key not in self.under_way and key not in met):
                could.append(entry)
            if key is not None:
                met.add(key)
        if not could:
            return None
        entry = could[0 if self.order == "fifo" else -1]
        self.line.remove(entry)
        if entry[1] is not None:
            self.under_way.add(entry[1])
        return entry


steps = st.lists(
    st.tuples(
        st.sampled_from([*["put"] * 4, *["take"] * 3, "end", "end", *["drop"] * 3]),
        st.integers(0, 1_000),
    ),
    max_size=150,
)


@settings(max_examples=400, deadline=None)
@given(steps, st.sampled_from(["fifo", "lifo"]))
def test_a_job_queue_is_a_list_that_is_searched(
    plan: list[tuple[str, int]], order: JobOrder
) -> None:
    """The job that begins is the one that a search through all of them finds."""
    queue: JobQueue[int] = JobQueue(order)
    model = Model(order)
    places: dict[int, Place[int]] = {}
    for number, (what, dice) in enumerate(plan):
        if what == "put":
            key = KEYS[dice % len(KEYS)]
            places[number] = queue.put(number, key)
            model.line.append((number, key))
        elif what == "take":
            assert queue.take() == model.take()
        elif what == "end" and model.under_way:
            key = sorted(model.under_way)[dice % len(model.under_way)]
            model.under_way.remove(key)
            queue.ended(key)
        elif what == "drop" and places:
            job = list(places)[dice % len(places)]
            waits = job in {entry[0] for entry in model.line}
            assert queue.drop(places[job]) is waits
            model.line = [entry for entry in model.line if entry[0] != job]
        assert len(queue) == len(model.line)
        assert set(queue._behind) == model.under_way | {key for _, key in model.line if key}
    assert queue.clear() == [job for job, _ in model.line]
    assert (len(queue), queue._stale <= 17) == (0, True)
    for key in sorted(model.under_way):
        queue.ended(key)
    assert not queue._behind
