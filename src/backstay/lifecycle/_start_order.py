"""In which order components start and stop: what is needed first, what is independent at once.

Pure: names in, names out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from backstay.errors import LifecycleMisuse

__all__ = ["check_needs", "startable", "stoppable"]


def check_needs(needs: Mapping[str, Sequence[str]]) -> None:
    """Refuse needs that can never be met.

    Args:
        needs: of each component, the names of those that must have started before it.

    Raises:
        LifecycleMisuse: a component needs one that is not there, or components need each other
            in a ring; the ring is named.
    """
    for name, wanted in needs.items():
        missing = [one for one in wanted if one not in needs]
        if missing:
            known = ", ".join(sorted(needs)) or "none"
            raise LifecycleMisuse(
                f"component {name!r} needs {missing[0]!r}, which is not there: there are {known}"
            )
    ring = _ring(needs)
    if ring:
        raise LifecycleMisuse(
            f"components need each other in a ring, so none can start first: {' -> '.join(ring)}"
        )


def startable(needs: Mapping[str, Sequence[str]], begun: set[str], started: set[str]) -> list[str]:
    """Return who can start now: not begun, and all that it needs has started."""
    return [
        name
        for name, wanted in needs.items()
        if name not in begun and all(one in started for one in wanted)
    ]


def stoppable(needs: Mapping[str, Sequence[str]], stopping: set[str], alive: set[str]) -> list[str]:
    """Return who can stop now: nobody alive needs it any more.

    Args:
        needs: as above.
        stopping: those that have been told to stop.
        alive: those that have not ended.
    """
    needed = {one for name in alive for one in needs[name]}
    return [name for name in needs if name in alive - stopping and name not in needed]


def _ring(needs: Mapping[str, Sequence[str]]) -> list[str]:
    """Find a ring by walking along the needs; [] when there is none."""
    done: set[str] = set()
    for start in needs:
        path: list[str] = []
        todo: list[tuple[str, int]] = [(start, 0)]
        while todo:
            name, depth = todo.pop()
            del path[depth:]
            if name in path:
                return [*path[path.index(name) :], name]
            if name in done:
                continue
            path.append(name)
            todo += [(one, depth + 1) for one in needs[name]]
        done.update(path)
        done.add(start)
    return []
