"""Numbers for tasks that were told to somebody, so that he can ask for one of them again.

An address will not do: as soon as a task has ended, the next one may have it, and whoever asks for the
first would be shown the second. Numbers are given when a task is told of, never when it is started,
so that starting one costs nothing; they are held weakly and never given twice.
"""

from __future__ import annotations

import asyncio
import itertools
import threading
from typing import Any
from weakref import ref

__all__ = ["TaskNumbers", "numbers"]

Task = asyncio.Task[Any]


class TaskNumbers:
    """Gives numbers, and finds the tasks again that have them; callable from any thread."""

    def __init__(self) -> None:
        """Know no task yet."""
        self._guard = threading.Lock()
        self._next = itertools.count(1)
        self._tasks: dict[int, ref[Task]] = {}
        self._by_address: dict[int, tuple[ref[Task], int]] = {}

    def number(self, task: Task) -> int:
        """Return the number of a task; always the same.

        Cost: a microsecond the first time, and some 300 bytes as long as the task lives.
        """
        address = id(task)
        with self._guard:
            known = self._by_address.get(address)
            if known is not None and known[0]() is task:
                return known[1]
            number = next(self._next)

            def forget(gone: ref[Task]) -> None:
                # Without the guard: a task may be collected while this thread holds it.
                self._tasks.pop(number, None)
                held = self._by_address.get(address)
                if held is not None and held[1] == number:
                    self._by_address.pop(address, None)

            held = ref(task, forget)
            self._tasks[number] = held
            self._by_address[address] = held, number
            return number

    def find(self, number: int) -> Task | None:
        """Return the task that was given a number; None when it has ended."""
        held = self._tasks.get(number)
        task = None if held is None else held()
        return None if task is None or task.done() else task


#: One table for all pages of a process.
numbers = TaskNumbers()
