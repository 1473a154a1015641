"""`backstay ui`: the pages of a process in a browser."""

from __future__ import annotations

import argparse

from backstay.cli._target import Subparsers, add_target

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay ui 4711                       print an address for the browser on this machine
  backstay ui 4711 --port 9500           always at this port, for a tunnel: ssh -L 9500:127.0.0.1:9500 HOST

The address works once, for one browser; Ctrl-C ends it. It only looks and changes nothing.
"""


def add_parser(subparsers: Subparsers[argparse.ArgumentParser]) -> None:
    """Describe the verb to argparse."""
    parser = subparsers.add_parser(
        "ui",
        help="look into a process with a browser",
        description="Open a gate on loopback through which one browser sees the pages of a process.",
        epilog=_EPILOG,
    )
    add_target(parser)
    parser.add_argument("--port", type=_port, default=0, metavar="N", help="listen here (any free)")
    parser.add_argument("--json", action="store_true", help="print the address as a JSON document")


def execute(args: argparse.Namespace) -> int:
    """Serve until somebody interrupts; return 0.

    Raises:
        UsageError: the target cannot be reached, or the port is taken.
    """
    import json

    from backstay.observe.target import AdminClient
    from backstay.observe.ui import Gate

    told = AdminClient(args.target, timeout=args.wait).get("/v1/statistics")  # before an address
    with Gate(args.target, port=args.port) as gate:
        if args.json:
            print(json.dumps({"url": gate.url, "pid": told["pid"]}), flush=True)
        else:
            print(f"process {told['pid']}: open {gate.url}", flush=True)
            print("The address works once; Ctrl-C ends it.", flush=True)
        try:
            gate.wait()
        except KeyboardInterrupt:
            pass
    return 0


def _port(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text) <= 65535):
        raise argparse.ArgumentTypeError(f"{text!r} is not a port: give a number up to 65535")
    return int(text)
