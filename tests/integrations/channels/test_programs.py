"""Whole programs of Go's tree: ten thousand tasks in a chain, prime sieves, power series."""

from __future__ import annotations

import asyncio
import tracemalloc
from collections.abc import Awaitable, Callable
from fractions import Fraction

import pytest
import uvloop

from backstay import Channel, Scope, select
from backstay.channels import RecvOnly, SendOnly

LOOPS = pytest.mark.parametrize("factory", [asyncio.new_event_loop, uvloop.new_event_loop])
Factory = Callable[[], asyncio.AbstractEventLoop]


def run(factory: Factory, main: Callable[[], Awaitable[None]]) -> None:
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(main())  # type: ignore[arg-type]


@pytest.mark.slow
@LOOPS
def test_a_chain_of_ten_thousand_tasks(factory: Factory) -> None:
    """goroutines.go: each waits for its right neighbour; one item runs through all of them."""
    length = 10_000
    bytes_each = 0.0

    async def pass_on(left: Channel[int], right: Channel[int]) -> None:
        await left.send(1 + await right.recv())

    async def main() -> None:
        nonlocal bytes_each
        first: Channel[int] = Channel()
        tracemalloc.start(1)
        before = tracemalloc.get_traced_memory()[0]
        async with Scope("chain") as scope:
            right = first
            for _ in range(length):
                left, right = right, Channel()
                scope.go(pass_on, left, right)
            await asyncio.sleep(0)
            bytes_each = (tracemalloc.get_traced_memory()[0] - before) / length
            tracemalloc.stop()
            await right.send(0)
            assert await first.recv() == length

    run(factory, main)
    # A task of a scope, its two coroutines, and the channel made for it.
    assert bytes_each < 6_000


@pytest.mark.slow
@LOOPS
def test_the_prime_sieve(factory: Factory) -> None:
    """sieve1.go: a chain of filters that grows with each prime."""

    async def generate(out: SendOnly[int]) -> None:
        number = 2
        while True:
            await out.send(number)
            number += 1

    async def keep(source: RecvOnly[int], out: SendOnly[int], prime: int) -> None:
        async for number in source:
            if number % prime:
                await out.send(number)

    async def main() -> None:
        primes: list[int] = []
        async with Scope("sieve", on_exit="cancel") as scope:
            source: Channel[int] = Channel()
            scope.go(generate, source)
            for _ in range(60):
                prime = await source.recv()
                primes.append(prime)
                filtered: Channel[int] = Channel()
                scope.go(keep, source, filtered, prime)
                source = filtered
        assert primes == [n for n in range(2, 282) if all(n % d for d in range(2, n))]

    run(factory, main)


@pytest.mark.slow
@LOOPS
def test_the_lazy_prime_sieve(factory: Factory) -> None:
    """sieve2.go in short: candidates and multiples are streams that a select merges."""

    async def multiples(prime: int, out: SendOnly[int]) -> None:
        number = prime * prime
        while True:
            await out.send(number)
            number += prime

    async def main() -> None:
        primes: list[int] = []
        async with Scope("sieve", on_exit="cancel") as scope:
            streams: list[tuple[Channel[int], int]] = []
            heads: list[int] = []
            for candidate in range(2, 200):
                for index, (stream, _) in enumerate(streams):
                    while heads[index] < candidate:
                        heads[index] = (await select(stream)).value
                if candidate not in heads:
                    primes.append(candidate)
                    stream = Channel[int](4)
                    scope.go(multiples, candidate, stream)
                    streams.append((stream, candidate))
                    heads.append(await stream.recv())
        assert primes == [n for n in range(2, 200) if all(n % d for d in range(2, n))]

    run(factory, main)


# -- powser1.go: power series as streams of coefficients ---------------------------------


class Series:
    """A stream of coefficients that are worked out on request."""

    def __init__(self) -> None:
        self.requests: Channel[None] = Channel()
        self.coefficients: Channel[Fraction] = Channel()

    async def get(self) -> Fraction:
        await self.requests.send(None)
        return await self.coefficients.recv()

    async def put(self, coefficient: Fraction) -> None:
        await self.requests.recv()
        await self.coefficients.send(coefficient)


class Algebra:
    """Operations on series; each starts tasks in one scope."""

    def __init__(self, scope: Scope) -> None:
        self._scope = scope

    def _start(self, work: Callable[[Series], Awaitable[None]]) -> Series:
        out = Series()
        self._scope.go(work, out)
        return out

    def constant(self, first: int) -> Series:
        async def work(out: Series) -> None:
            await out.put(Fraction(first))
            while True:
                await out.put(Fraction(0))

        return self._start(work)

    def ones(self) -> Series:
        async def work(out: Series) -> None:
            while True:
                await out.put(Fraction(1))

        return self._start(work)

    def split(self, source: Series) -> tuple[Series, Series]:
        """Let two readers share a series, each at its own pace: a select over both requests."""
        outs = Series(), Series()

        async def work() -> None:
            ahead: list[list[Fraction]] = [[], []]
            while True:
                index = (await select(outs[0].requests, outs[1].requests)).index
                if not ahead[index]:
                    coefficient = await source.get()
                    ahead[0].append(coefficient)
                    ahead[1].append(coefficient)
                await outs[index].coefficients.send(ahead[index].pop(0))

        self._scope.go(work)
        return outs

    def add(self, one: Series, two: Series) -> Series:
        async def work(out: Series) -> None:
            while True:
                both = await asyncio.gather(one.get(), two.get())
                await out.put(sum(both, Fraction(0)))

        return self._start(work)

    def scale(self, factor: Fraction, one: Series) -> Series:
        async def work(out: Series) -> None:
            while True:
                await out.put(factor * await one.get())

        return self._start(work)

    def shift(self, first: Fraction, one: Series) -> Series:
        async def work(out: Series) -> None:
            await out.put(first)
            while True:
                await out.put(await one.get())

        return self._start(work)

    def multiply(self, one: Series, two: Series) -> Series:
        """(f + xF)(g + xG) = fg + x(fG + gF + xFG)."""

        async def work(out: Series) -> None:
            f, g = await asyncio.gather(one.get(), two.get())
            await out.put(f * g)
            left, right = self.split(one), self.split(two)
            rest = self.add(
                self.add(self.scale(f, right[0]), self.scale(g, left[0])),
                self.shift(Fraction(0), self.multiply(left[1], right[1])),
            )
            while True:
                await out.put(await rest.get())

        return self._start(work)

    def integrate(self, first: Fraction, one: Series) -> Series:
        async def work(out: Series) -> None:
            await out.put(first)
            power = 1
            while True:
                await out.put(await one.get() / power)
                power += 1

        return self._start(work)


@pytest.mark.slow
@LOOPS
def test_power_series(factory: Factory) -> None:
    """powser1.go, and powser2.go, whose items are objects as all of ours: 1/(1-x) squared is 1 + 2x + 3x^2 …, its integral is 1/(1-x) again."""

    async def main() -> None:
        async with Scope("series", on_exit="cancel") as scope:
            algebra = Algebra(scope)
            square = algebra.multiply(algebra.ones(), algebra.ones())
            kept, integrated = algebra.split(square)
            back = algebra.integrate(Fraction(1), integrated)
            assert [await kept.get() for _ in range(7)] == [1, 2, 3, 4, 5, 6, 7]
            assert [await back.get() for _ in range(7)] == [1] * 7
            total = algebra.add(algebra.constant(5), algebra.ones())
            assert [await total.get() for _ in range(3)] == [6, 1, 1]

    run(factory, main)
