"""A program that never heard of Backstay, for others to look into. How it spends its time is its argument."""

import asyncio
import ctypes
import selectors
import sys
import time


async def worker() -> None:
    await asyncio.sleep(3600)


async def busy(how: str) -> None:
    while True:
        if how == "sleeping":
            time.sleep(0.02)
        elif how == "locked":
            # A C function that sleeps and keeps the interpreter's lock, as PyDLL does.
            ctypes.PyDLL(None).usleep(900_000)
        elif how == "computing":
            sum(range(30_000_000))  # one C function, which looks at no request
        else:
            sum(i * i for i in range(300))
        if how != "spinning":
            await asyncio.sleep(0)


async def main(how: str) -> None:
    tasks = [asyncio.create_task(worker(), name=f"worker-{n}") for n in range(5)]
    if how != "idle":
        tasks.append(asyncio.create_task(busy(how), name="busy"))
    print("ready", flush=True)
    await asyncio.gather(*tasks)


if sys.argv[2:] == [
    "poll"
]:  # a wait that the kernel goes on with under another number when it was cut short
    with asyncio.Runner(
        loop_factory=lambda: asyncio.SelectorEventLoop(selectors.PollSelector())
    ) as runner:
        runner.run(main(sys.argv[1]))
elif sys.argv[2:] == ["uvloop"]:
    import uvloop

    uvloop.run(main(sys.argv[1]))
else:
    asyncio.run(main(sys.argv[1]))
