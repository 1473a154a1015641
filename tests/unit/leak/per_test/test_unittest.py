"""The mixin for unittest, in runs of its own."""

from __future__ import annotations

import asyncio
import unittest
from typing import Any

from backstay.leak.per_test import LeakFreeTestCase

kept: list[Any] = []


async def blocked() -> None:
    await asyncio.Event().wait()


def leave() -> None:
    kept.append(asyncio.get_running_loop().create_task(blocked()))


async def leaves() -> None:
    leave()
    await asyncio.sleep(0)


class Async(LeakFreeTestCase, unittest.IsolatedAsyncioTestCase):
    async def asyncSetUp(self) -> None:
        self.task = asyncio.get_running_loop().create_task(blocked())

    async def asyncTearDown(self) -> None:
        self.task.cancel()

    async def clean(self) -> None:
        await asyncio.sleep(0)

    async def leaks(self) -> None:
        await leaves()

    async def fails(self) -> None:
        await leaves()
        self.fail("its own")


class Sync(LeakFreeTestCase, unittest.TestCase):
    def clean(self) -> None:
        asyncio.run(asyncio.sleep(0))

    def leaks(self) -> None:
        asyncio.run(leaves())


class Allowed(Sync):
    leaks_allow = ("function=blocked",)


def outcome(kind: type[unittest.TestCase], name: str) -> tuple[list[str], bool]:
    result = unittest.TestResult()
    kind(name).run(result)
    return [text for _, text in (*result.failures, *result.errors)], result.wasSuccessful()


def test_clean_cases_pass() -> None:
    """What the fixtures of a case end is no leak."""
    assert outcome(Async, "clean") == ([], True)
    assert outcome(Sync, "clean") == ([], True)


def test_leaking_cases_fail() -> None:
    """Async cases and sync ones that run loops fail with the report."""
    for kind in (Async, Sync):
        (told,), passed = outcome(kind, "leaks")
        assert not passed
        assert "1 task outlived test " in told
        assert "in leave()" in told


def test_a_failing_case_keeps_its_error() -> None:
    """The report stands below the error of the test itself."""
    (told,), _ = outcome(Async, "fails")
    assert told.index("AssertionError: its own") < told.index("1 task outlived test ")


def test_a_case_may_allow() -> None:
    """Patterns are an attribute of the class."""
    assert outcome(Allowed, "leaks") == ([], True)
