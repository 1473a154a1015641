"""A dump by signal: for a process whose admin plane is off, or out of reach.

A Python signal handler runs in the main thread, between two instructions; while that thread is in a
C call that does not come back, nothing would happen. So the signal is taken where no
interpreter is needed: `faulthandler` notes in C where the thread stands that was interrupted,
and writes it into a pipe. A thread that waits at the other end wakes, takes the
dump as the admin plane would, and writes it; the main thread is not asked for anything.

What that needs is the interpreter's lock. Python code gives it away every few milliseconds, and so
does nearly every call that blocks (sleeping, sockets, locks, files, drivers). C code that computes
with the lock in its hands does not, and then the dump comes when it is through, with the stack of
the moment of the signal on top.
"""

from __future__ import annotations

import faulthandler
import os
import select
import signal
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self
from weakref import WeakSet

from backstay._base import wall
from backstay.observe.desk import cover_text
from backstay.observe.dump._document import document
from backstay.observe.dump._text import to_text

__all__ = ["SignalDump", "on_signal"]

#: Bytes of one dump; a dump of 200 groups with stacks has some 300 KB.
_MOST_BYTES: Final = 4_000_000
#: Seconds between two dumps: a script that signals in a loop must not occupy the process.
_PAUSE_S: Final = 1.0
#: Seconds that whoever reads stderr may take to make room.
_PATIENCE_S: Final = 10.0
_WIDTH: Final = 160
_STDERR: Final = 2
# What these are for must not be taken away; the last ones cannot be caught, or mean that
# the process is broken.
_REFUSED: Final = frozenset(
    (
        *("SIGINT", "SIGTERM", "SIGCHLD", "SIGALRM", "SIGPROF", "SIGPIPE"),
        *("SIGKILL", "SIGSTOP", "SIGSEGV", "SIGFPE", "SIGABRT", "SIGBUS", "SIGILL"),
    )
)

_armed: WeakSet[SignalDump] = WeakSet()


class SignalDump:
    """Waits for a signal, and writes a dump for each; a context manager that leaves no trace."""

    def __init__(self, number: signal.Signals, path: Path | None) -> None:
        """Take the signal; see `on_signal`."""
        self.signal = number
        self.path = path
        self.written = 0  # dumps so far
        self._before = signal.getsignal(number)
        self._closed = False
        self._reader, self._writer = os.pipe()
        try:
            # The handler must not wait for room when the thread behind the pipe is not let run.
            os.set_blocking(self._writer, False)
            # Of other threads it would read the stacks while they move; they are in the dump anyhow.
            faulthandler.register(number, file=self._writer, all_threads=False, chain=False)
        except BaseException:
            os.close(self._reader)
            os.close(self._writer)
            raise
        _armed.add(self)
        self._thread = threading.Thread(
            target=self._serve, name="backstay-signal-dump", daemon=True
        )
        self._thread.start()

    def close(self) -> None:
        """Give the signal back to whom it belonged; harmless when repeated.

        A dump that is being written is written to its end.
        """
        if self._closed:
            return
        self._closed = True
        self._give_back()
        os.close(self._writer)  # ends the thread, which closes the other end
        if threading.current_thread() is not self._thread:
            self._thread.join(_PATIENCE_S)

    def __enter__(self) -> Self:
        """Wait for signals until the block ends."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close."""
        self.close()

    def _give_back(self) -> None:
        _armed.discard(self)
        holder = signal.getsignal(self.signal)
        faulthandler.unregister(self.signal)
        # Somebody else has taken the signal meanwhile, and `unregister` has overwritten that.
        if holder != self._before and threading.current_thread() is threading.main_thread():
            signal.signal(self.signal, holder)

    def _disarm_in_child(self) -> None:
        """In a process that was forked off: its signals are none of the parent's business."""
        self._closed = True
        with suppress(Exception):
            self._give_back()
        with suppress(OSError):
            os.close(self._writer)
            os.close(self._reader)

    # -- in the thread that waits ------------------------------------------------

    def _serve(self) -> None:
        try:
            while noted := _all_of(self._reader):
                # What goes wrong with one dump is told in its place; the process does not notice.
                self._write(self._made(noted))
                self.written += 1
                if not self._closed:
                    time.sleep(_PAUSE_S)
        finally:
            os.close(self._reader)

    def _made(self, noted: str) -> bytes:
        taken_at = datetime.fromtimestamp(wall(), UTC).isoformat(timespec="milliseconds")
        head = f"=== backstay dump of process {os.getpid()} at {taken_at}, by {self.signal.name}\n"
        try:
            body = to_text(document(stacks=True), width=_WIDTH)
        except Exception as error:
            body = f"the dump failed: {type(error).__name__}: {error}\n"
        where = "\n".join(noted.rstrip().splitlines()[:200])
        made = cover_text(f"{head}{where}\n\n{body}".encode(errors="replace"))
        if len(made) > _MOST_BYTES:
            made = made[:_MOST_BYTES] + b"\n... cut: the dump is longer than 4 MB\n"
        return made + b"=== end of dump\n"

    def _write(self, made: bytes) -> None:
        try:
            if self.path is None:
                _write_all(_STDERR, made)
                return
            flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
            target = os.open(self.path, flags, 0o600)
            try:
                _write_all(target, made)
            finally:
                os.close(target)
        except OSError as error:
            if self.path is not None:
                said = f"backstay: the dump could not be written to {self.path}: {error}\n"
                with suppress(OSError):
                    _write_all(_STDERR, said.encode(errors="replace"))


def on_signal(
    number: int | str = "SIGUSR1", *, file: str | os.PathLike[str] | None = None
) -> SignalDump:
    """Write a full dump whenever a signal comes, also while the loop is blocked.

    ::

        with dump.on_signal("SIGQUIT"):
            backstay.run(main)

    The dump shows all tasks with stacks, deadlocks, executors and threads, and on top the
    stack of the thread that the signal interrupted, which is the main thread as a rule. One is
    written at a time and at most one a second; signals in between are one. It never makes
    the process fail: what goes wrong is written in place of the dump.

    Args:
        number: which; a name such as "SIGUSR1" or "USR1", or a number.
        file: where to append the dumps, readable by the owner alone; stderr when omitted.

    Returns:
        A context manager; `close()` gives the signal back. Forked children begin without it.

    Raises:
        ValueError: there is no such signal, or it must be left alone.
        RuntimeError: somebody handles it already, or this system cannot do it.

    Cost: a thread that sleeps. A dump costs what `snapshot` does; at most 4 MB are written.
        While C code computes without letting others run, the dump waits for it.
    """
    # What the dump needs is loaded now: then it works in a process in which nothing else does any more.

    chosen = _signal_of(number)
    if not hasattr(faulthandler, "register"):
        raise RuntimeError("this system has no signals to wait for: use the admin plane")
    holder = signal.getsignal(chosen)
    if holder not in (signal.SIG_DFL, signal.SIG_IGN):
        name = getattr(holder, "__qualname__", None) or "C code"
        raise RuntimeError(f"{chosen.name} is handled already, by {name}: choose another signal")
    if any(one.signal == chosen for one in _armed):
        raise RuntimeError(f"{chosen.name} writes a dump already: close that one first")
    return SignalDump(chosen, None if file is None else Path(file).absolute())


def _signal_of(number: int | str) -> signal.Signals:
    try:
        if isinstance(number, str):
            name = number.upper()
            chosen = signal.Signals[name if name.startswith("SIG") else f"SIG{name}"]
        else:
            chosen = signal.Signals(number)
    except (KeyError, ValueError):
        raise ValueError(
            f"{number!r} is no signal: give a name such as 'SIGUSR1', or a number"
        ) from None
    if chosen.name in _REFUSED:
        raise ValueError(f"{chosen.name} has a meaning of its own: use SIGUSR1, SIGUSR2 or SIGQUIT")
    return chosen


def _all_of(reader: int) -> str:
    """Wait for what `faulthandler` writes, and return it; "" when the other end was closed."""
    noted = os.read(reader, 65_536)
    while noted and select.select([reader], [], [], 0.01)[0]:
        more = os.read(reader, 65_536)
        if not more:
            break
        noted = (noted + more)[:65_536]
    return noted.decode(errors="replace")


def _write_all(target: int, made: bytes) -> None:
    """Write past any buffer, which the interrupted code may be in the middle of."""
    left = memoryview(made)
    while left:
        try:
            left = left[os.write(target, left) :]
        except BlockingIOError:  # a terminal or pipe that somebody has made non-blocking
            if not select.select([], [target], [], _PATIENCE_S)[1]:
                return


def _disarm_children() -> None:
    for one in list(_armed):
        one._disarm_in_child()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_disarm_children)
