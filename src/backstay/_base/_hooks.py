"""The hook table: how lower rooms tell upper rooms what happened.

An unused hook must cost one test, since hooks sit on paths that run for every
task. That is why a `Hook` is falsy while nobody listens, and why the event
record is built only after that test::

    if scope_ended:
        scope_ended.emit(ScopeEnded(...))
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Generic, TypeVar

__all__ = ["Hook"]

E = TypeVar("E")

_log = logging.getLogger("backstay.hooks")


class Hook(Generic[E]):
    """One kind of event and those who listen to it.

    Invariant: `_listeners` is replaced, never changed in place, so that an
    emit on one thread sees a whole table while another thread subscribes.
    """

    __slots__ = ("_listeners", "name")

    def __init__(self, name: str) -> None:
        """Name the hook after what happened, in the past tense."""
        self.name = name
        self._listeners: tuple[Callable[[E], None], ...] = ()

    def __bool__(self) -> bool:
        """Tell whether anybody listens."""
        return bool(self._listeners)

    def subscribe(self, listener: Callable[[E], None]) -> Callable[[], None]:
        """Call `listener` with each event until the returned function is called.

        Args:
            listener: runs inside the code that emits, so it must be quick and
                must not wait.

        Returns:
            A function that removes this subscription; calling it twice is harmless.
        """
        self._listeners = (*self._listeners, listener)

        def unsubscribe() -> None:
            self._listeners = tuple(x for x in self._listeners if x is not listener)

        return unsubscribe

    def emit(self, event: E) -> None:
        """Tell every listener.

        A listener that raises is logged and skipped: whoever observes must
        never change the behaviour of what is observed.
        """
        for listener in self._listeners:
            try:
                listener(event)
            except Exception:
                _log.exception("a listener of the hook %r failed", self.name)

    def __repr__(self) -> str:
        """Show the name and how many listen."""
        return f"<Hook {self.name!r} listeners={len(self._listeners)}>"
