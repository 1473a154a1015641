"""Proofs from time to time, and only what is proved again some seconds later is told.

That nothing can wake a task never stops being true, so whoever is really stuck is so the next time,
too. Whoever is not, because another thread had him in its hands just then, or because C code keeps
a pointer where no reference is, has moved on. What is remembered in between are numbers.
"""

from __future__ import annotations

import asyncio
import threading
from concurrent.futures import Future
from concurrent.futures import TimeoutError as NotInTime
from dataclasses import replace

from backstay._base import now
from backstay.leak._proof import Proof, Proved
from backstay.leak._prove import prove

__all__ = ["Prover"]

_Key = tuple[int, float | None, str]


class Prover:
    """Proves for one loop, and confirms each verdict before it tells it.

    ::

        prover = leak.Prover(asyncio.get_running_loop(), older_than=60.0)
        ...
        report = leak.report(sampler, proof=prover.look())

    The first look accuses nobody: what it finds is `unconfirmed`, and told by the first look that
    comes `confirm_after` seconds later or more, if it is found by all looks in between.

    Attributes:
        loop: whose tasks.
    """

    def __init__(
        self,
        loop: asyncio.AbstractEventLoop,
        *,
        confirm_after: float = 2.0,
        older_than: float = 1.0,
        per_site: int = 64,
        budget: int = 200_000,
    ) -> None:
        """Prepare; nothing is looked at before `look()`.

        Args:
            loop: whose tasks.
            confirm_after: seconds between the first and the last proof of one task, >= 0.
            older_than: seconds that a task must have lived to be asked.
            per_site: how many are asked of one spawn site and await site.
            budget: objects that are looked into at most, in one look.

        Raises:
            ValueError: a number is out of range.
        """
        if not confirm_after >= 0 or not older_than >= 0:
            raise ValueError(
                f"confirm_after and older_than are seconds, 0 or more, not {confirm_after!r} and {older_than!r}"
            )
        if per_site < 0 or budget <= 0:
            raise ValueError(
                f"per_site is 0 (all) or more and budget more than 0, not {per_site!r} and {budget!r}"
            )
        self.loop = loop
        self._confirm_after = confirm_after
        self._older_than = older_than
        self._per_site = per_site
        self._budget = budget
        self._since: dict[_Key, float] = {}  # when each was proved first
        self._lock = threading.Lock()

    def look(self, timeout: float = 2.0) -> Proof:
        """Prove once, and return what is confirmed by now; callable from any thread.

        Args:
            timeout: seconds to wait for the loop, when called from another thread. A loop that is
                blocked cannot be asked, and `refused` says so.

        Cost: that of `prove()`, in the thread of the loop.
        """
        if not self.loop.is_running() or asyncio._get_running_loop() is self.loop:
            return self._confirmed(self._prove())
        answer: Future[Proof] = Future()
        try:
            self.loop.call_soon_threadsafe(self._answer, answer)
            return self._confirmed(answer.result(timeout))
        except NotInTime:
            answer.cancel()
            why = f"the loop did not answer within {timeout:g} s: it is blocked or overloaded"
        except RuntimeError:
            why = "the loop is closed"
        return Proof((), 0, 0, 0, 0, 0, 0, 0.0, 0.0, why)

    def _answer(self, answer: Future[Proof]) -> None:
        if not answer.set_running_or_notify_cancel():
            return  # who asked has gone
        try:
            answer.set_result(self._prove())
        except Exception as error:  # a diagnostic that fails must not reach the loop's handler
            answer.set_exception(error)

    def _prove(self) -> Proof:
        return prove(
            loop=self.loop,
            older_than=self._older_than,
            per_site=self._per_site,
            budget=self._budget,
        )

    def _confirmed(self, proof: Proof) -> Proof:
        if proof.refused:
            return proof
        at = now()
        with self._lock:
            before, self._since = self._since, {}
            told: list[Proved] = []
            for one in proof.proved:
                key = one.task_id, one.born, one.site
                since = self._since[key] = before.get(key, at)
                if key in before and at - since >= self._confirm_after:
                    told.append(one)
        return replace(proof, proved=tuple(told), unconfirmed=len(proof.proved) - len(told))
