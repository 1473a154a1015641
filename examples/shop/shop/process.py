"""How the shop's outsider and infra processes start and end.

The services themselves run under `backstay run`; these processes stand for systems that belong to
somebody else, so they share nothing with it: own flags, own signals, plain asyncio.
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import socket
import sys
from collections.abc import Callable, Coroutine
from typing import NoReturn

import uvloop


class StartError(Exception):
    """The process cannot start; the message is the one line that the user sees."""


class Flags(argparse.ArgumentParser):
    """argparse whose complaints are one line, exit code 2."""

    def error(self, message: str) -> NoReturn:
        """Say what is wrong and where help is, then leave."""
        self.exit(2, f"{self.prog}: {message} (see {self.prog} --help)\n")


def port_number(text: str) -> int:
    """The value of a --port flag.

    Raises:
        argparse.ArgumentTypeError: not a port.
    """
    if not text.isdecimal() or not 0 <= int(text) <= 65535:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a port, expected a number from 0 to 65535 (0 = any free one)"
        )
    return int(text)


def bind(host: str, port: int) -> socket.socket:
    """A bound TCP socket, not listening yet.

    Raises:
        StartError: the address is taken or not ours.
    """
    held = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        held.bind((host, port))
    except OSError as error:
        held.close()
        raise StartError(
            f"cannot listen on {host}:{port}: {error.strerror}; choose another --port"
        ) from error
    return held


def raise_file_limit() -> None:
    """Let this process hold as many sockets as the system allows it (a hang collects thousands)."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def run(name: str, main: Callable[[asyncio.Event], Coroutine[None, None, None]]) -> int:
    """Run `main(stop)` on uvloop until SIGTERM or SIGINT sets `stop`; the exit code.

    A second signal ends the process at once, by its default action.
    """

    async def supervised() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()

        def on_signal() -> None:
            stop.set()
            for number in (signal.SIGTERM, signal.SIGINT):
                loop.remove_signal_handler(number)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, on_signal)
        await main(stop)

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(supervised())
    except StartError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0
