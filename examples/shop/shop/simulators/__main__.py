"""`python -m shop.simulators bank|wms|gateway --port N --seed S`: one outsider in its own process."""

from __future__ import annotations

import asyncio
import gc
import sys
from collections.abc import Callable, Mapping, Sequence

from shop.process import Flags, bind, port_number, raise_file_limit, run
from shop.simulators import Bank, Gateway, Script, ScriptError, Simulator, Trade, Warehouse

NAME = "shop.simulators"
TRADES: Mapping[str, Callable[[], Trade]] = {"bank": Bank, "wms": Warehouse, "gateway": Gateway}
# Connections that the kernel may hold for us during a burst; it cuts this to its own limit.
BACKLOG = 8192


async def serve(host: str, port: int, simulator: Simulator, stop: asyncio.Event) -> None:
    """Serve `simulator` until `stop` is set, then cut whoever still waits.

    Raises:
        StartError: the port cannot be used.
    """
    loop = asyncio.get_running_loop()
    with bind(host, port) as held:
        listener = await loop.create_server(simulator.server.connect, sock=held, backlog=BACKLOG)
        # Start-up leaves nothing that needs collecting, and a hang leaves 10,000 live objects that
        # would be walked again and again.
        gc.freeze()
        try:
            await stop.wait()
        finally:
            listener.close()
            simulator.server.cut_all()
            await listener.wait_closed()


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and serve; the exit code."""
    flags = Flags(prog=NAME, description="An outsider of the shop, scripted over HTTP.")
    flags.add_argument("kind", choices=sorted(TRADES))
    flags.add_argument("--port", type=port_number, required=True, help="HTTP port")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--seed", type=int, default=1, help="of the dice (default 1)")
    flags.add_argument(
        "--latency-ms", type=float, default=0.0, help="median time for a request (default 0)"
    )
    flags.add_argument(
        "--jitter", type=float, default=0.0, help="sigma of the log-normal around it (default 0)"
    )
    given = flags.parse_args(arguments)
    try:
        script = Script().changed({"latency_ms": given.latency_ms, "jitter": given.jitter})
    except ScriptError as error:
        flags.error(str(error))
    raise_file_limit()
    simulator = Simulator(TRADES[given.kind](), script, given.seed)
    return run(f"{NAME} {given.kind}", lambda stop: serve(given.host, given.port, simulator, stop))


if __name__ == "__main__":
    sys.exit(main())
