"""Shutdown hooks that anybody may register, in a service or without one."""

from __future__ import annotations

import threading
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

__all__ = ["Hooked", "register_hook", "registered_hooks"]


@dataclass(frozen=True, slots=True)
class Hooked:
    """Work for the end of the process.

    Attributes:
        name: of the hook.
        work: called once.
        budget: seconds; then it is cancelled.
        after: names of hooks and components that end before it runs.
    """

    name: str
    work: Callable[[], Awaitable[object]]
    budget: float
    after: tuple[str, ...]

    def forget(self) -> None:
        """Take it back; once is enough."""
        with _lock:
            _hooks.pop(self.name, None)


_lock = threading.Lock()
_hooks: dict[str, Hooked] = {}


def register_hook(
    work: Callable[[], Awaitable[object]],
    *,
    name: str | None = None,
    budget: float = 5.0,
    after: tuple[str, ...] = (),
) -> Hooked:
    """Have `work` done when the process ends in order.

    A `Service` runs it among its own components. Without one, `run_hooks()` does; `backstay run`
    calls that after the application's own shutdown. Hooks that do not wait for each other run at once.

    Args:
        work: an async function without arguments.
        name: of the hook; its qualified name when omitted.
        budget: seconds; then it is cancelled, and the shutdown goes on.
        after: names of hooks and components that must have ended before.

    Returns:
        The registration; `forget()` takes it back.

    Raises:
        ValueError: there is a hook of that name, or the budget is not more than 0.
    """
    found = Hooked(name or str(getattr(work, "__qualname__", work)), work, budget, after)
    if not budget > 0:
        raise ValueError(
            f"the budget of hook {found.name!r} is more than 0 seconds, not {budget!r}"
        )
    with _lock:
        if found.name in _hooks:
            raise ValueError(f"there is a hook {found.name!r} already: give another name=")
        _hooks[found.name] = found
    return found


def registered_hooks() -> list[Hooked]:
    """Return the hooks that are registered now, in their order."""
    with _lock:
        return list(_hooks.values())
