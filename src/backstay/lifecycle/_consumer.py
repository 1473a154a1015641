"""`Consumer`: takes messages as fast as it can finish them, and loses none.

::

    new ──run()──► running ──told──► draining ──in hand: 0, or budget over──► exited

Four kinds of task, all of one scope: one that pulls, one that tells the broker what is still being
worked on, one for each message at work, and the body, which waits to be told. Who may be
taken and whose turn it is, `Hand` decides; what becomes of a failure, `Redelivery` decides.

A message leaves our hand in one place, `_let_go`, when it is settled, or when its ack wait has
passed without that: then the broker gives it to somebody again. Whatever else strikes (a cancel, a
handler that never took its first step, a budget that is over) leaves it in hand, and what is in
hand at the very end is given back.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterable
from contextlib import ExitStack
from functools import partial

from backstay._base import (
    ConsumerMoved,
    Histogram,
    consumer_moved,
    now,
    random,
)
from backstay.context import REQUEST_ID, Key, bind
from backstay.errors import ScopeClosed
from backstay.lifecycle._broker_calls import BrokerCalls
from backstay.lifecycle._consumer_statistics import ConsumerState, ConsumerStatistics, Counts
from backstay.lifecycle._delivery import Delivery, Subscription
from backstay.lifecycle._hand import Hand
from backstay.lifecycle._holding import Holding, identity_of
from backstay.lifecycle._redelivery import Redelivery, Verdict
from backstay.lifecycle._steered import ALIVE, Steered
from backstay.tasks import Scope

__all__ = ["Consumer"]

_log = logging.getLogger("backstay.consumer")

_CANCELLED_S = 0.8  # for giving all back after a cancel: a `Service` abandons a part after 1 s
_LAST_S = 1.0  # of the drain's budget, kept for giving back what it has cut
_SOON_S = 1e-6  # a timer may fire as much too early as clocks are coarse
_LATE = "it came when the consumer had been told to leave"
_AGAIN = Verdict("handle")
_TOLD_AT_MOST = 100  # message ids in a log line and in the statistics


class Consumer(Steered):
    """Handles the messages of a subscription, a bounded number at once, until it is told to leave.

    ::

        consumer = Consumer("orders", subscription, ship, concurrency=16, deadline=5.0)
        service.task("orders", consumer.run, needs=("bus",), budget=30.0)

        async with consumer: ...  # or alone, for as long as the block lasts

    `ship` is called with a `Delivery`. When it returns, the message is acknowledged; when it raises, or
    its deadline passes, `Redelivery` says whether and when the message comes again. At least
    once is what any broker can give; with an `Inbox` the effect happens once.

    Each handling is a scope of kind "consumer" with the message id for a name, in the trace and under
    the request id that the message's headers tell. While it lasts, the broker is told so,
    each third of the ack wait. No more is pulled than there is room for: what cannot be worked on waits
    with the broker, where it is safe. A consumer is used once.

    Attributes:
        name: shown in events, logs, statistics and scopes.
        state: "new", "running", "draining" or "exited".
    """

    _kind = "consumer"

    def __init__(
        self,
        name: str,
        subscription: Subscription,
        handler: Callable[[Delivery], Awaitable[object]],
        *,
        concurrency: int = 16,
        deadline: float | None = 30.0,
        redelivery: Redelivery | None = None,
        key: Callable[[Delivery], str | None] | None = None,
        in_hand: int | None = None,
        drain: float = 20.0,
        pull_wait: float = 1.0,
        patience: float = 2.0,
        keys: Iterable[Key[str]] = (),
    ) -> None:
        """Describe it; nothing is pulled before `run`.

        Args:
            name: of the consumer.
            subscription: where messages come from.
            handler: does the work for one.
            concurrency: handlings at once, >= 1.
            deadline: seconds for one handling; None for no other than an ambient one.
            redelivery: what becomes of failures; `Redelivery()` when omitted.
            key: of a message: those of one key are handled one at a time, in the order in which they
                came, and one that fails is tried again here, with those behind it waiting. None is no
                key. It must not wait, and not fail.
            in_hand: messages taken at once at most, >= concurrency. When omitted, `concurrency`; with
                `key` four times as many, so that a key that is slow does not stop the others.
            drain: seconds from being told to the end, > 0. What is not finished by then is given back.
            pull_wait: seconds for which the broker keeps a pull when it has nothing, > 0. A drain may
                last as long, even if nothing is in hand.
            patience: seconds for any other answer of the broker, > 0.
            keys: carried keys to bind from the `baggage` of messages; others are ignored.

        Raises:
            ValueError: a number is out of range.
        """
        if in_hand is None:
            in_hand = concurrency if key is None else 4 * concurrency
        if not 1 <= concurrency <= in_hand:
            raise ValueError(
                f"1 <= concurrency <= in_hand is needed, not {concurrency!r} and {in_hand!r}"
            )
        if deadline is not None and not deadline > 0:
            raise ValueError(
                f"a deadline is more than 0 seconds, not {deadline!r}: None is for none"
            )
        if not (drain > 0 and pull_wait > 0 and patience > 0):
            raise ValueError(
                f"drain, pull_wait and patience are more than 0 seconds, not {drain!r}, {pull_wait!r} and {patience!r}"
            )
        super().__init__(name)
        self.state: ConsumerState = "new"
        self._handler = handler
        self._deadline, self._drain_s, self._pull_wait = deadline, drain, pull_wait
        self._redelivery = redelivery or Redelivery()
        self._key = key
        self._carried = {one.name: one for one in keys}
        self._hand: Hand[str] = Hand(concurrency, in_hand)
        self._held: dict[str, Holding] = {}  # by the broker's id; the same as are in `_hand`
        self._pulls = True
        self._cut = False  # what is in hand is given back from now on, and nothing else is begun
        self._scope: Scope | None = None
        self._puller: asyncio.Task[None] | None = None
        self._counts = Counts()
        self._broker = BrokerCalls(name, subscription, patience, self._counts)
        self._handling = Histogram()
        self._left: tuple[str, ...] = ()
        ALIVE.add(self)

    # -- what people ask -------------------------------------------------------------

    def statistics(self) -> ConsumerStatistics:
        """Return how it is doing. Cost: one look at each message in hand."""
        at, counts = now(), self._counts
        return ConsumerStatistics(
            name=self.name,
            state=self.state,
            paused=self._paused,
            in_hand=len(self._hand),
            at_work=self._hand.at_work,
            oldest_s=max((at - one.taken_at for one in self._held.values()), default=0.0),
            taken=counts.taken,
            redelivered=counts.redelivered,
            doubles=counts.doubles,
            acked=counts.acked,
            failed=counts.failed,
            held=counts.held,
            retried=counts.retried,
            dead=counts.dead,
            given_back=counts.given_back,
            lost=counts.lost,
            broker_errors=counts.broker_errors,
            last_error=counts.last_error,
            handled=self._handling.count,
            handling_p50_s=self._handling.quantile(0.5),
            handling_p99_s=self._handling.quantile(0.99),
            left_over=self._left,
        )

    def __repr__(self) -> str:
        """Show the name, the state and what is in hand."""
        paused = f" paused: {self._paused}" if self._paused else ""
        return f"<Consumer {self.name!r} {self.state} in_hand={len(self._hand)}{paused}>"

    async def __aenter__(self) -> Consumer:
        """Run it in the background of a block; see `run`."""
        await self._begin_block()
        return self

    # -- running ---------------------------------------------------------------------

    async def run(self, leave: asyncio.Event | None = None) -> ConsumerStatistics:
        """Handle messages until told to leave; then finish what was taken, within the budget.

        Args:
            leave: tells it; `stop()` does as well.

        Returns:
            How it went.

        Raises:
            LifecycleMisuse: it has run before.

        Cancelled: handlers are cancelled, and what is in hand is given back, within a second. A
            second cancel leaves it to the broker to give it to somebody again.

        Emits: `consumer_moved` for each state, `message_returned` for what was not simply acked.
        """
        self._only_once(self.state)
        why = "it was cancelled"
        self._go("running", "run() was called")
        try:
            async with Scope(self.name, kind="consumer", on_exit="cancel", unwrap=True) as scope:
                self._scope = scope
                if leave is not None:
                    scope.go(self._heed, leave)
                scope.go(self._broker.keep, self._held.values())
                self._puller = scope.go(self._pull_all)
                await self._told.wait()
                await self._drain()
                why = self._why
        finally:
            try:
                await self._give_back(_CANCELLED_S)
            finally:
                self._go("exited", why)
        return self.statistics()

    def _go(self, state: ConsumerState, why: str) -> None:
        before, self.state = self.state, state
        if consumer_moved:
            consumer_moved.emit(ConsumerMoved(self.name, before, state, why))

    async def _drain(self) -> None:
        self._go("draining", self._why)
        until = now() + self._drain_s
        last = min(_LAST_S, self._drain_s / 4)
        while self._held or self._pulls:
            left = until - last - now()
            if left <= _SOON_S:
                break
            await self._look_again(left)
        if not self._held:
            return
        ids = [one.delivery.message_id for one in self._held.values()]
        self._left = tuple(ids[:_TOLD_AT_MOST])
        _log.warning(
            "consumer %r: %d messages were not finished within the %g s of its drain, and are given back: %s%s",
            self.name, len(ids), self._drain_s, ", ".join(self._left), ", …" if len(ids) > len(self._left) else "",
        )  # fmt: skip
        self._cut = True
        # The pull as well: what is given back must not come to ourselves by one that is under way.
        tasks = [self._puller, *(one.task for one in self._held.values())]
        cut = [task for task in tasks if task is not None]
        for task in cut:
            task.cancel()
        await asyncio.wait(cut, timeout=last / 2)
        # Now, and not when all have ended: one that is deaf to its cancel must not hold up the others.
        await self._give_back(max(0.0, until - now()))

    async def _look_again(self, seconds: float | None = None) -> None:
        """Wait until something has changed."""
        self._changed.clear()
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def _rest(self, seconds: float) -> None:
        """Wait, but not any longer than until we are told to leave."""
        try:
            async with asyncio.timeout(seconds):
                await self._told.wait()
        except TimeoutError:
            pass

    # -- taking ----------------------------------------------------------------------

    async def _pull_all(self) -> None:
        try:
            while not self._told.is_set():
                if self._paused or not self._hand.room:
                    await self._look_again()
                    continue
                asked_at = now()
                for delivery in await self._broker.pull(self._hand.room, self._pull_wait):
                    self._take(delivery, asked_at)
                if self._broker.pause_s:
                    await self._rest(self._broker.pause_s)
        finally:
            self._pulls = False
            self._changed.set()

    def _take(self, delivery: Delivery, asked_at: float) -> None:
        known = self._held.get(delivery.id)
        if known is not None:
            # Its ack wait had passed. It is in good hands; from now on we settle it by its new name.
            known.delivery, known.touched_at = delivery, asked_at
            self._counts.doubles += 1
            return
        self._counts.taken += 1
        self._counts.redelivered += delivery.attempt > 1
        one = Holding(delivery, now(), asked_at, self._told.is_set())
        try:
            key = one.key = None if self._key is None else self._key(delivery)
        except Exception as error:
            key, one.misread = None, error  # a poisoned message is no reason to stop taking others
        self._held[delivery.id] = one
        if one.late and key is None:
            self._see_off(one, 0.0, _LATE)
            return
        # A late one with a key waits for those before it: it must not overtake them elsewhere.
        self._hand.take(delivery.id, key)
        self._begin_more()

    def _see_off(self, one: Holding, delay: float, reason: str) -> None:
        """Give a message back in a task of its own."""
        scope = self._scope
        assert scope is not None
        try:
            one.task = scope.go(self._return, one, delay, reason)
        except ScopeClosed:
            self._cut = True  # we are being cancelled: all that is in hand is given back
        else:
            one.task.add_done_callback(partial(self._ended, one))

    def _begin_more(self) -> None:
        scope = self._scope
        assert scope is not None
        while not self._cut and (name := self._hand.begin()) is not None:
            one = self._held[name]
            try:
                task = scope.go(self._see_to, one)
            except ScopeClosed:
                self._cut = True
                return
            task.set_name(f"{self.name}: {one.delivery.message_id}")
            one.task = task
            task.add_done_callback(partial(self._ended, one))

    def _ended(self, one: Holding, task: asyncio.Task[None]) -> None:
        """Look after a message whose handler did not: it was cancelled, perhaps before its first step."""
        if task.cancelled() and not one.over and not self._cut:
            one.blamed = True  # or one whose handler is cancelled each time would come for ever
            self._see_off(one, self._redelivery.first, "its handler was cancelled")

    # -- working ---------------------------------------------------------------------

    async def _see_to(self, one: Holding) -> None:
        """Handle a message until it is settled, or its ack wait has passed."""
        if one.late:
            await self._return(one, 0.0, _LATE)
            return
        verdict = self._redelivery.arrived(one.delivery.attempt)
        while verdict.action == "handle":
            error = one.misread or await self._attempt(one)
            if one.over:  # we were cut, and it was deaf to that: it has been given back
                return
            if error is None:
                one.handled = True
                await self._broker.settle(one, "ack")
                self._let_go(one)
                return
            verdict = self._judge(one, error)
            if verdict.action == "hold":
                self._counts.held += 1
                self._broker.tell(one, "held", verdict.reason, verdict.delay)
                until = now() + verdict.delay
                await self._rest(verdict.delay)
                if self._told.is_set():
                    await self._return_line(one, max(0.0, until - now()), verdict.reason)
                    return
                one.attempt += one.blamed
                verdict = _AGAIN
        if verdict.action == "retry":
            await self._return(one, verdict.delay, verdict.reason)
        else:
            await self._broker.settle(one, "dead_letter", reason=verdict.reason)
            self._let_go(one)

    async def _attempt(self, one: Holding) -> BaseException | None:
        """Handle a message once; return what its handler has raised."""
        delivery = one.delivery
        identity = identity_of(delivery, self._carried)
        began = now()
        try:
            with ExitStack() as stack:
                if identity.request_id is not None:
                    stack.enter_context(bind(REQUEST_ID, identity.request_id))
                for key, value in identity.carried:
                    stack.enter_context(bind(key, value))
                one.trace_id = identity.trace_id
                async with Scope(
                    delivery.message_id,
                    kind="consumer",
                    timeout=self._deadline,
                    trace_id=identity.trace_id,
                    unwrap=True,
                ) as scope:
                    await self._handler(delivery)
            return scope.cause  # of one that cancelled its own scope: that is no success
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise
            return error  # nobody has cancelled us: it is the handler's own way to fail
        except Exception as error:
            return error
        finally:
            self._handling.record(max(0.0, now() - began))

    def _judge(self, one: Holding, error: BaseException) -> Verdict:
        self._counts.failed += 1
        self._counts.last_error = f"{type(error).__name__}: {error}"
        verdict = self._redelivery.failed(one.attempt, error, random())
        one.blamed = verdict.action == "retry"
        if one.blamed and one.key is not None:
            # Given back, it would come again behind those that came after it.
            return Verdict("hold", verdict.delay, verdict.reason)
        return verdict

    # -- settling --------------------------------------------------------------------

    async def _return(self, one: Holding, delay: float, reason: str) -> None:
        """Give a message back to the broker; one that was handled is acked, whatever has come between."""
        await self._broker.settle(one, "ack" if one.handled else "nak", delay, reason)
        self._let_go(one)

    async def _return_line(self, one: Holding, delay: float, reason: str) -> None:
        """Give a message back, and after it those of its key, which must not overtake it."""
        await self._broker.settle(one, "nak", delay, reason)
        for name in self._hand.behind(one.delivery.id):
            await self._return(self._held[name], delay, f"behind {one.delivery.message_id}")
        self._let_go(one)

    async def _give_back(self, seconds: float) -> None:
        """Give back all that is still in hand."""
        self._cut = True
        left = list(self._held.values())
        if not left:
            return
        try:
            await self._broker.give_back(left, seconds, "the consumer has ended")
        finally:
            for one in left:
                self._let_go(one)

    def _let_go(self, one: Holding) -> None:
        if one.over:
            return
        one.over = True
        name = one.delivery.id
        del self._held[name]
        if name in self._hand:
            self._hand.leave(name)
        self._changed.set()
        self._begin_more()
