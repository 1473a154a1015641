"""The pprof bytes, judged by the protobuf package and read back by ourselves."""

from __future__ import annotations

import gzip
import random
from typing import Any

import pytest

from backstay.errors import UsageError
from backstay.observe.profile import Frame, Profile, Sample, diff, from_pprof, merge, to_pprof

pytest.importorskip("google.protobuf", reason="the judge of the bytes is the protobuf package")

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

# Field numbers and types of profile.proto, message by message.
_INT, _UINT, _BOOL, _TEXT = 3, 4, 8, 9
_SCHEMA: dict[str, list[tuple[str, int, int | str, bool]]] = {
    "ValueType": [("type", 1, _INT, False), ("unit", 2, _INT, False)],
    "Label": [
        ("key", 1, _INT, False), ("str", 2, _INT, False), ("num", 3, _INT, False), ("num_unit", 4, _INT, False),
    ],
    "Sample": [("location_id", 1, _UINT, True), ("value", 2, _INT, True), ("label", 3, "Label", True)],
    "Mapping": [
        ("id", 1, _UINT, False), ("memory_start", 2, _UINT, False), ("memory_limit", 3, _UINT, False),
        ("file_offset", 4, _UINT, False), ("filename", 5, _INT, False), ("build_id", 6, _INT, False),
        ("has_functions", 7, _BOOL, False), ("has_filenames", 8, _BOOL, False),
        ("has_line_numbers", 9, _BOOL, False), ("has_inline_frames", 10, _BOOL, False),
    ],
    "Line": [("function_id", 1, _UINT, False), ("line", 2, _INT, False)],
    "Location": [
        ("id", 1, _UINT, False), ("mapping_id", 2, _UINT, False), ("address", 3, _UINT, False),
        ("line", 4, "Line", True), ("is_folded", 5, _BOOL, False),
    ],
    "Function": [
        ("id", 1, _UINT, False), ("name", 2, _INT, False), ("system_name", 3, _INT, False),
        ("filename", 4, _INT, False), ("start_line", 5, _INT, False),
    ],
    "Profile": [
        ("sample_type", 1, "ValueType", True), ("sample", 2, "Sample", True), ("mapping", 3, "Mapping", True),
        ("location", 4, "Location", True), ("function", 5, "Function", True), ("string_table", 6, _TEXT, True),
        ("drop_frames", 7, _INT, False), ("keep_frames", 8, _INT, False), ("time_nanos", 9, _INT, False),
        ("duration_nanos", 10, _INT, False), ("period_type", 11, "ValueType", False), ("period", 12, _INT, False),
        ("comment", 13, _INT, True), ("default_sample_type", 14, _INT, False), ("doc_url", 15, _INT, False),
    ],
}  # fmt: skip


def _message_class() -> Any:
    file = descriptor_pb2.FileDescriptorProto(
        name="profile.proto", package="perftools.profiles", syntax="proto3"
    )
    for name, fields in _SCHEMA.items():
        message = file.message_type.add(name=name)
        for field, number, kind, repeated in fields:
            made = message.field.add(name=field, number=number, label=3 if repeated else 1)
            if isinstance(kind, str):
                made.type = 11  # a message
                made.type_name = f".perftools.profiles.{kind}"
            else:
                made.type = kind  # type: ignore[assignment]
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)  # type: ignore[no-untyped-call,unused-ignore]
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("perftools.profiles.Profile"))


PROTO = _message_class()


def a_profile() -> Profile:
    leaf, root = Frame("Queue.get", "/lib/queues.py", 155), Frame("work", "/app/ä.py", 7)
    return Profile(
        kinds=(("samples", "count"), ("cpu", "nanoseconds")),
        samples=(
            Sample((leaf, root), (3, 30_000_000), (("task", "Task-1"), ("depth", 300))),
            Sample((root,), (1, -5), ()),
        ),
        period_kind=("cpu", "nanoseconds"),
        period=10_000_000,
        taken_at=1_700_000_000.5,
        duration_s=2.5,
        comments=("one", "two"),
        default="cpu",
    )


def parsed(profile: Profile) -> Any:
    return PROTO.FromString(gzip.decompress(to_pprof(profile)))


def test_the_protobuf_package_reads_what_we_write() -> None:
    """Every field arrives: leaf first, negative values, labels of both kinds, times, comments."""
    found = parsed(a_profile())
    names = list(found.string_table)
    assert names[0] == ""
    functions = {one.id: (names[one.name], names[one.filename]) for one in found.function}
    lines = {
        one.id: (*functions[one.line[0].function_id], one.line[0].line) for one in found.location
    }
    first, second = found.sample
    assert [lines[one] for one in first.location_id] == [
        ("Queue.get", "/lib/queues.py", 155),
        ("work", "/app/ä.py", 7),
    ]
    assert list(first.value) == [3, 30_000_000]
    assert list(second.value) == [1, -5]
    assert [(names[one.key], names[one.str], one.num) for one in first.label] == [
        ("task", "Task-1", 0),
        ("depth", "", 300),
    ]
    assert [(names[one.type], names[one.unit]) for one in found.sample_type] == list(
        a_profile().kinds
    )
    assert (names[found.period_type.type], found.period) == ("cpu", 10_000_000)
    assert (found.time_nanos, found.duration_nanos) == (1_700_000_000_500_000_000, 2_500_000_000)
    assert [names[one] for one in found.comment] == ["one", "two"]
    assert names[found.default_sample_type] == "cpu"


def test_nothing_is_left_for_a_tool_to_look_up() -> None:
    """Ids are not zero, and the one mapping says that functions, files and lines are there."""
    found = parsed(a_profile())
    ids = [one.id for one in (*found.location, *found.function, *found.mapping)]
    assert 0 not in ids
    (mapping,) = found.mapping
    assert (mapping.has_functions, mapping.has_filenames, mapping.has_line_numbers) == (True,) * 3
    assert {one.mapping_id for one in found.location} == {mapping.id}


def test_it_reads_back_what_it_wrote() -> None:
    """Decoding is the inverse of encoding, also of an empty profile."""
    assert from_pprof(to_pprof(a_profile())) == a_profile()
    empty = Profile((("tasks", "count"),))
    assert from_pprof(to_pprof(empty)) == empty
    assert to_pprof(empty) == to_pprof(empty)


def test_profiles_of_others_are_read() -> None:
    """Not gzipped, unpacked repeated numbers, inlined frames and a location without a name are fine."""
    other = parsed(a_profile())
    other.location[0].line.add(function_id=2, line=99)  # Queue.get was inlined into work
    other.location.add(id=77, mapping_id=1, address=0xABC)
    other.sample[1].location_id.append(77)
    found = from_pprof(other.SerializeToString())
    assert found.samples[0].stack[:2] == (
        Frame("Queue.get", "/lib/queues.py", 155),
        Frame("work", "/app/ä.py", 99),
    )
    assert found.samples[1].stack[-1] == Frame("0xabc", "", 0)
    # The same two numbers, one field each instead of a packed one.
    unpacked = b"\x0a\x00\x32\x00\x12\x04\x10\x05\x10\x06\x0a\x00"
    assert from_pprof(unpacked).samples == (Sample((), (5, 6)),)


def refusal_of(data: bytes) -> str | None:
    try:
        from_pprof(data)
    except UsageError as error:
        return str(error)
    return None


def test_garbage_is_one_line() -> None:
    """Cut, flipped and random bytes are refused with a UsageError, and with nothing else."""
    good = to_pprof(a_profile())
    plain = gzip.decompress(good)
    dice = random.Random(3)
    spoilt = [good[: len(good) // 2], b"", b"GIF89a" * 9, b"\x1f\x8b" + b"x" * 40]
    for _ in range(400):
        changed = bytearray(plain)
        for _ in range(dice.randrange(1, 4)):
            changed[dice.randrange(len(changed))] = dice.randrange(256)
        spoilt.append(
            bytes(changed[: dice.randrange(len(changed))] if dice.random() < 0.5 else changed)
        )
    refused = [why for data in spoilt if (why := refusal_of(data))]
    assert len(refused) > 200
    assert all("not a pprof profile" in why for why in refused)


def test_merging_adds_up() -> None:
    """Equal stacks with equal labels are one sample; the time is that of all together."""
    one = a_profile()
    both = merge([one, one])
    assert both.samples[0].values == (6, 60_000_000)
    assert len(both.samples) == 2
    assert both.duration_s == 5.0
    assert both.comments == one.comments


def test_a_diff_tells_what_grew_and_what_shrank() -> None:
    """What stayed is not told, what is gone is negative."""
    root = Frame("work", "/a.py", 7)
    kinds = (("tasks", "count"),)
    before = Profile(kinds, (Sample((root,), (5,)), Sample((), (2,))), taken_at=10.0)
    after = Profile(kinds, (Sample((root,), (5,)), Sample((root, root), (3,))), taken_at=14.0)
    change = diff(after, before)
    assert change.samples == (Sample((root, root), (3,)), Sample((), (-2,)))
    assert (change.taken_at, change.duration_s) == (14.0, 4.0)


def test_what_does_not_add_up_is_refused() -> None:
    """Profiles of different kinds, or none at all."""
    with pytest.raises(UsageError, match="tasks/count"):
        merge([a_profile(), Profile((("tasks", "count"),))])
    with pytest.raises(UsageError, match="at least one"):
        merge([])


def test_steps_told_as_text_become_frames() -> None:
    """`function at file:line` is taken apart; anything else is a function's name."""
    assert Frame.parse("f.<locals>.g at /a b/c.py:12") == Frame("f.<locals>.g", "/a b/c.py", 12)
    assert Frame.parse("… 9 frames left out") == Frame("… 9 frames left out", "", 0)
