"""Something that takes time, done for one client in a thread of its own."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from backstay.observe.desk._reply import Reply, refusal

__all__ = ["Errand", "Wait"]

#: Waits so many seconds; True as soon as nobody waits for the reply any more.
Wait = Callable[[float], bool]

_log = logging.getLogger("backstay.admin")


class Errand:
    """One answer under way.

    The admin plane has one thread for everybody, so nothing that takes time may happen in it.
    """

    def __init__(
        self,
        name: str,
        longest_s: float,
        make: Callable[[Wait], Reply],
        *,
        done: Callable[[], None] = lambda: None,
        refuse: Callable[[int, str], Reply] = refusal,
    ) -> None:
        """Prepare; `start` begins.

        Args:
            name: of the thread, after "backstay-".
            longest_s: the most seconds that it is meant to take; some time after, its client is let go.
            make: makes the reply, in the thread. It is given a way to wait that ends early, with
                True, when the client has left.
            done: is called when `make` has ended, however.
            refuse: how an error of ours is told to the client.
        """
        self.name = name
        self.longest_s = longest_s
        self._make = make
        self._done = done
        self._refuse = refuse
        self._abandoned = threading.Event()

    def start(
        self, deliver: Callable[[Reply], None], *, ended: Callable[[], None] = lambda: None
    ) -> None:
        """Make the reply in a thread of its own, and give it to `deliver` there.

        Args:
            deliver: is given the reply, unless the errand was abandoned.
            ended: is called when the thread has nothing more to do, however it went.
        """
        thread = threading.Thread(
            target=self._run, args=(deliver, ended), name=f"backstay-{self.name}", daemon=True
        )
        try:
            thread.start()
        except RuntimeError as error:  # the process has as many threads as it may have, or ends
            self._done()
            ended()
            deliver(self._refuse(503, f"no thread could be started to make it: {error}"))

    def abandon(self) -> None:
        """Nobody waits for it any more: clean up and end soon."""
        self._abandoned.set()

    def refuse(self, status: int, reason: str) -> Reply:
        """Return a refusal in the form that clients of this errand expect.

        Args:
            status: of HTTP.
            reason: one sentence.
        """
        self._done()
        return self._refuse(status, reason)

    def _run(self, deliver: Callable[[Reply], None], ended: Callable[[], None]) -> None:
        try:
            reply = self._try()
        finally:
            self._done()
            ended()
        if not self._abandoned.is_set():
            deliver(reply)

    def _try(self) -> Reply:
        try:
            return self._make(self._abandoned.wait)
        except Exception as error:
            # A diagnostic that fails must not take the plane along; who asked is told.
            _log.exception("%s could not be made", self.name)
            return self._refuse(500, f"{self.name} failed: {type(error).__name__}: {error}")
