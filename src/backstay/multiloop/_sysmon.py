"""`Sysmon`: a thread that notices a blocked event loop and names the line.

asyncio's debug mode tells of a slow callback after it has ended and without its
line; a loop that never comes back is never told of. This watches from outside,
as the `sysmon` thread of Go's runtime does, and needs no debug mode: an idle
loop is looked at 20 to 40 times a second and not woken; only a loop that stays
in one callback is asked to say when it comes round.

A thread that watches time must know when it was late itself. When the machine
or another thread kept *us* from running, nobody is accused, unless the loop's
thread used the processor all the while: then it ran compiled code that held the
interpreter's lock, and that is a block like any other.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

from backstay._base import BlockRecord, loop_blocked, now, wall
from backstay.multiloop._block_rule import BlockRule
from backstay.multiloop._loop_sight import LoopSight, Sample
from backstay.tasks import owner_of

__all__ = ["Sysmon", "SysmonStatistics"]

Loop = asyncio.AbstractEventLoop

_log = logging.getLogger("backstay.sysmon")

_RECENT = 32  # blocks remembered
_MOST_SITES = 256  # told apart within one block
# Whoever keeps all threads from running uses the processor all the while; on a machine with more
# work than processors that may be a fifth of the time, and one that stands still uses none.
_AT_WORK = 0.2

_NO_LOOP_PAUSE_S = 0.1  # how soon a loop that is made later is found
_COMPILED = Sample("", "code without Python frames", ())


@dataclass(frozen=True, slots=True)
class SysmonStatistics:
    """How often the loops were blocked, and what watching costs."""

    running: bool
    limit_s: float
    count: int  # blocks that are over
    total_s: float  # their durations together
    longest_s: float
    now: BlockRecord | None  # the block that lasts at this moment
    recent: tuple[BlockRecord, ...]  # newest last
    late: int  # times the watching thread itself was kept from running, and nobody was accused
    looks: int
    cpu_s: float  # processor time of the watching thread


class _Watched:
    """What is known of one loop."""

    def __init__(self, loop: Loop, limit: float) -> None:
        self.rule = BlockRule(limit)
        self.sight = LoopSight(loop, self.rule.step)
        self.samples: Counter[Sample] = Counter()  # of the present callback
        self.present: BlockRecord | None = None  # the block that lasts
        self.task: tuple[str | None, tuple[str, ...], str | None] = (None, (), None)
        self.cpu_s: float | None = None  # of the loop's thread, at the last look


class Sysmon:
    """Notices when an event loop is blocked, by which line, and for how long.

    ::

        with Sysmon(asyncio.get_running_loop(), limit=0.1) as sysmon:
            ...
            for block in sysmon.blocks:
                print(f"{block.duration_s:.2f} s in {block.function} at {block.site}")

    Each block is also emitted on the hook `loop_blocked`: when the limit has
    passed, each second while it lasts, and with its whole duration when it is
    over. Listeners run in the watching thread.

    Cost: 20 looks a second at an idle loop, 40 at a busy one, each about 20
    microseconds of processor time; see ``benchmarks/multiloop.py``.
    """

    def __init__(
        self,
        loop: Loop | Callable[[], Iterable[Loop]],
        limit: float = 0.1,
        *,
        on_block: Callable[[Loop, BlockRecord], None] | None = None,
    ) -> None:
        """Prepare; nothing happens before `start`.

        Args:
            loop: which one; or a function that returns those that exist at the
                moment, for example `backstay.tasks.installed_loops`.
            limit: seconds in one callback or one step of a task that count as a block.
            on_block: called from the watching thread in place of the hook.

        Raises:
            ValueError: the limit is not positive.
        """
        BlockRule(limit)
        self.limit = limit
        self._loops: Callable[[], Iterable[Loop]] = (
            (lambda: (loop,)) if isinstance(loop, asyncio.AbstractEventLoop) else loop
        )
        self._on_block = on_block
        self._guard = threading.Lock()  # numbers below are written by the thread, read by anybody
        self._watched: dict[int, _Watched] = {}
        self._recent: deque[BlockRecord] = deque(maxlen=_RECENT)
        self._count = 0
        self._total_s = 0.0
        self._longest_s = 0.0
        self._late = 0
        self._looks = 0
        self._cpu_s = 0.0
        self.resting = False  # whether there is no loop to watch
        self._stopping = False
        self._wake = threading.Event()
        self._thread: threading.Thread | None = None

    # -- life --------------------------------------------------------------------

    def start(self) -> Sysmon:
        """Watch from a daemon thread until `stop`; harmless when it runs already."""
        if self._thread is None:
            self._stopping = False
            self._wake.clear()
            self._thread = threading.Thread(target=self._run, name="backstay-sysmon", daemon=True)
            self._thread.start()
        return self

    def stop(self) -> None:
        """End the watching thread; what it has seen stays readable."""
        self._stopping = True
        self._wake.set()
        thread, self._thread = self._thread, None
        if thread is not None and thread is not threading.current_thread():
            thread.join()
        for one in list(self._watched.values()):
            one.sight.leave()

    def nudge(self) -> None:
        """Look again at once: there may be a loop to watch. Callable from any thread."""
        self._wake.set()

    def __enter__(self) -> Sysmon:
        """Start."""
        return self.start()

    def __exit__(self, *_: object) -> None:
        """Stop."""
        self.stop()

    # -- asking ------------------------------------------------------------------

    @property
    def blocks(self) -> tuple[BlockRecord, ...]:
        """The last blocks that are over, newest last, at most 32."""
        with self._guard:
            return tuple(self._recent)

    def statistics(self) -> SysmonStatistics:
        """Return what was seen, and what the watching cost; callable from any thread."""
        with self._guard:
            present = [one.present for one in self._watched.values() if one.present is not None]
            return SysmonStatistics(
                running=self._thread is not None and self._thread.is_alive(),
                limit_s=self.limit,
                count=self._count,
                total_s=self._total_s,
                longest_s=self._longest_s,
                now=max(present, key=lambda block: block.duration_s, default=None),
                recent=tuple(self._recent),
                late=self._late,
                looks=self._looks,
                cpu_s=self._cpu_s,
            )

    # -- the thread --------------------------------------------------------------

    def _run(self) -> None:
        planned = now()
        while True:
            at = now()
            try:
                pause = self._round(at, at - planned)
            except Exception:
                # Whoever watches must never change what is watched, nor die unseen.
                _log.exception("sysmon failed at one look; the next one may succeed")
                pause = _NO_LOOP_PAUSE_S
            planned = now() + pause
            if self._wake.wait(pause):
                self._wake.clear()
                planned = now()
            if self._stopping:
                return

    def _round(self, at: float, late_s: float) -> float:
        """Look at every loop once; return the seconds until the next look."""
        pause = _NO_LOOP_PAUSE_S
        met: set[int] = set()
        for loop in self._loops():
            if not loop.is_running():
                continue
            met.add(id(loop))
            one = self._watched.get(id(loop))
            if one is None or one.sight.loop is not loop:
                one = _Watched(loop, self.limit)
                with self._guard:
                    self._watched[id(loop)] = one
            self._look(one, at, late_s)
            pause = min(pause, one.rule.pause(at))
        for gone in [key for key in self._watched if key not in met]:
            with self._guard:
                one = self._watched.pop(gone)
            one.sight.leave()
            self._over(one, one.rule.idle(at))
        self.resting = not met
        self._looks += 1
        if not self._looks & 15:
            self._cpu_s = time.thread_time()
        return pause

    def _look(self, one: _Watched, at: float, late_s: float) -> None:
        rule, sight = one.rule, one.sight
        answered = sight.answered_at()
        if answered is not None:
            self._over(one, rule.came_round(answered))
        look = sight.look()
        seen, sample = look.seen, look.sample
        before_s, one.cpu_s = one.cpu_s, sight.cpu_s()
        if late_s >= self.limit / 2:
            since = self._held_since(one, at, late_s, before_s)
            if since is None and seen == "same":
                rule.skip(late_s, at)
            elif since is None:
                rule.forget(at)
            elif rule.since is None:
                rule.held(since, at)
                one.samples.clear()
                sight.ask()
                seen, sample = "same", sample or _COMPILED
        if seen == "idle":
            self._over(one, rule.idle(at))
            one.samples.clear()
            return
        self._over(one, rule.busy(at, same=seen != "other"))
        if seen == "other":
            one.samples.clear()
        else:
            sight.ask()
        if sample is not None and len(one.samples) < _MOST_SITES:
            one.samples[sample] += 1
        self._judge(one, at)

    def _held_since(
        self, one: _Watched, at: float, late_s: float, before_s: float | None
    ) -> float | None:
        """We were late ourselves: return since when the loop was to blame, None if it was not.

        It was when its thread used the processor meanwhile and it did not come round.
        """
        used_s = None if before_s is None or one.cpu_s is None else one.cpu_s - before_s
        came_round = one.sight.came_round_at()
        since = at if came_round is None else max(at - late_s, came_round)
        if used_s is None or used_s < late_s * _AT_WORK or at - since < self.limit:
            self._late += 1
            return None
        return since

    def _judge(self, one: _Watched, at: float) -> None:
        """Tell of a block when its limit has passed, and keep its duration up to date."""
        rule = one.rule
        if rule.overdue(at):
            self._note_task(one)
            if not one.samples:  # a build where looking is dear: only when it matters
                found = one.sight.sample()
                if found is not None:
                    one.samples[found] += 1
            began = rule.since if rule.since is not None else at
            one.present = self._record(one, at - began, wall() - (now() - began), ended=False)
            self._tell(one, one.present)
        elif one.present is not None and rule.since is not None:
            longer = self._record(one, at - rule.since, one.present.started_at, ended=False)
            before, one.present = one.present, longer
            if int(before.duration_s) != int(longer.duration_s):  # a sign of life each second
                self._tell(one, longer)

    def _over(self, one: _Watched, duration_s: float | None) -> None:
        """Tell of a block that is over."""
        if duration_s is None:
            return
        started_at = wall() - duration_s if one.present is None else one.present.started_at
        record = self._record(one, duration_s, started_at, ended=True)
        with self._guard:
            one.present = None
            self._recent.append(record)
            self._count += 1
            self._total_s += duration_s
            self._longest_s = max(self._longest_s, duration_s)
        one.samples.clear()
        one.task = (None, (), None)
        self._tell(one, record)

    def _note_task(self, one: _Watched) -> None:
        task: asyncio.Task[Any] | None = one.sight.running_task()
        if task is None:
            one.task = (None, (), None)
            return
        owner = owner_of(task)
        one.task = (
            task.get_name(),
            () if owner is None else owner.path,
            None if owner is None else owner.trace_id,
        )

    def _record(
        self, one: _Watched, duration_s: float, started_at: float, *, ended: bool
    ) -> BlockRecord:
        sample = one.samples.most_common(1)[0][0] if one.samples else _COMPILED
        if one.present is not None:  # what was told once does not change its name
            return replace(one.present, duration_s=duration_s, ended=ended)
        task, owner_path, trace_id = one.task
        return BlockRecord(
            site=sample.site,
            function=sample.function,
            duration_s=duration_s,
            started_at=started_at,
            ended=ended,
            thread=one.sight.thread,
            task=task,
            owner_path=owner_path,
            trace_id=trace_id,
            stack=sample.stack,
        )

    def _tell(self, one: _Watched, record: BlockRecord) -> None:
        if self._on_block is not None:
            self._on_block(one.sight.loop, record)
        elif loop_blocked:
            loop_blocked.emit(record)
