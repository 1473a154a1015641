"""The infra process: the shop's message bus, `python -m shop.infra --port N --data DIR`.

A process of its own even though everything in it is embedded, so that it can be killed, hung and
restarted alone: "no servers to install" must not mean "no failures".
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from shop.process import Flags, port_number, run

NAME = "shop.infra"


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the flags and serve; the exit code."""
    flags = Flags(prog=NAME, description="The shop's embedded message bus.")
    flags.add_argument("--port", type=port_number, required=True, help="gRPC port")
    flags.add_argument("--host", default="127.0.0.1")
    flags.add_argument("--data", type=Path, required=True, help="directory for the bus's database")
    flags.add_argument(
        "--max-attempts", type=int, default=5, help="deliveries before the dead letter (default 5)"
    )
    given = flags.parse_args(arguments)
    if given.max_attempts < 1:
        flags.error(f"--max-attempts is {given.max_attempts}, expected 1 or more")
    try:
        given.data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        flags.error(f"cannot make the directory {given.data}: {error.strerror}")
    # gRPC tells stderr about every client that went away, unless this is set before its import.
    os.environ.setdefault("GRPC_VERBOSITY", "ERROR")
    from shop.bus import serve

    return run(
        NAME, lambda stop: serve(given.host, given.port, given.data, given.max_attempts, stop)
    )


if __name__ == "__main__":
    sys.exit(main())
