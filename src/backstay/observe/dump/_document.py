"""The dump as one JSON document: what `GET /v1/ps` answers and `backstay ps --json` prints."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from backstay.leak import Deadlock
from backstay.leak._places import relative
from backstay.observe.dump._groups import Group
from backstay.observe.dump._places import directory, relative_at_end
from backstay.observe.dump._snapshot import Dump, snapshot

__all__ = ["document", "to_json"]

# The tree is for people; what does not fit on a few screens is told as a number.
_CHILDREN = 50
_GROUPS_PER_OWNER = 10


def document(*, stacks: bool = False, tree: bool = False) -> dict[str, Any]:
    """Take a snapshot of all tracked loops and return it as JSON values.

    Args:
        stacks: with the await chains of the oldest tasks of each group.
        tree: with the groups arranged under their owners.
    """
    return to_json(snapshot(stacks=stacks), tree=tree)


def to_json(dump: Dump, *, tree: bool = False) -> dict[str, Any]:
    """Return a snapshot as JSON values; the keys are listed in docs/how-to/read-a-task-dump.md."""
    made: dict[str, Any] = {
        "pid": dump.pid,
        "directory": directory(),
        "taken_at": round(dump.taken_at, 3),
        "tasks": dump.tasks,
        "deadlocks": [_deadlock(one) for one in dump.deadlocks],
        "groups": [group.to_json() for group in dump.groups],
        "groups_left_out": dump.groups_left_out,
        "tasks_left_out": dump.tasks_left_out,
        "threads": [thread.to_json() for thread in dump.threads],
        "threads_left_out": dump.threads_left_out,
        "executors": [executor.to_json() for executor in dump.executors],
    }
    if tree:
        made["tree"] = _nodes(dump.groups, 0)
        unowned = [group for group in dump.groups if not group.owner_path]
        if unowned:
            made["tree"].append(_node(None, unowned, -1))
    return made


def _deadlock(one: Deadlock) -> dict[str, Any]:
    """Return a ring as JSON values: each of its tasks is held up by the next, the last by the first."""
    found = one.finding
    followers = [member.name for member in (*one.ring[1:], *one.ring[:1])]
    return {
        "tasks": found.count,
        "behind": one.behind,
        "age_s": None if found.age is None else round(found.age, 3),
        "trace_ids": list(found.trace_ids),
        "ring": [
            {
                "name": member.name,
                "coroutine": member.coroutine,
                "site": relative(member.site),
                "owner_path": list(member.owner_path),
                "age_s": None if member.age is None else round(member.age, 3),
                "blocked_on": relative_at_end(member.blocked_on),
                "await_site": relative(member.await_site),
                "held_up_by": follower,
            }
            for member, follower in zip(one.ring, followers, strict=True)
        ],
        "detail": list(found.detail),
        "advice": found.advice,
    }


def _nodes(groups: Sequence[Group], depth: int) -> list[dict[str, Any]]:
    """Arrange groups by the owner's name at `depth` of their paths, most tasks first."""
    by_name: dict[str, list[Group]] = {}
    for group in groups:
        if len(group.owner_path) > depth:
            by_name.setdefault(group.owner_path[depth], []).append(group)
    ranked = sorted(by_name.items(), key=lambda item: -_tasks(item[1]))
    nodes = [_node(name, members, depth) for name, members in ranked[:_CHILDREN]]
    left_out = ranked[_CHILDREN:]
    if left_out:
        tasks = sum(_tasks(members) for _, members in left_out)
        nodes.append({"name": None, "kind": "left out", "tasks": tasks, "owners": len(left_out)})
    return nodes


def _node(name: str | None, members: Sequence[Group], depth: int) -> dict[str, Any]:
    own = [group for group in members if len(group.owner_path) == depth + 1]
    shown = own[:_GROUPS_PER_OWNER]
    return {
        "name": name,
        "kind": own[0].kind if own else "",
        "tasks": _tasks(members),
        "groups": [group.to_json() for group in shown],
        "groups_left_out": len(own) - len(shown),
        "children": _nodes(members, depth + 1) if name is not None else [],
    }


def _tasks(groups: Sequence[Group]) -> int:
    return sum(group.count for group in groups)
