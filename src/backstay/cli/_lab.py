"""`backstay lab`: experiments that end in PASS, FAIL or INCONCLUSIVE."""

from __future__ import annotations

import argparse
import importlib
import math
from pathlib import Path
from typing import Any

from backstay.cli._numbers import count, seconds
from backstay.errors import UsageError

__all__ = ["add_parser", "execute"]

_EPILOG = """\
examples:
  backstay lab compare leaky-checkout         the same load and fault on both ways of writing a shop
  backstay lab compare cascading-failure      a dependency that stops answering, with and without a breaker
  backstay lab load http://127.0.0.1:8000/    open-loop load, latency from the intended start
  backstay lab calibrate leaky-checkout       the highest rate that this machine sustains
  backstay lab soak soak                      ten minutes with faults that come and go: what stays behind?
"""

_COMPARE = """\
example:
  backstay lab compare leaky-checkout --rate 200 --duration 30 --out /tmp/trial

SCENARIO is the path of a .toml file, or the name of one in examples/shop/scenarios.
Writes result.json, report.html and demo.svg, and a folder of logs per run.
Exit code: 0 = PASS, 1 = FAIL or INCONCLUSIVE, 2 = wrong use.
"""

_LOAD = """\
example:
  backstay lab load http://127.0.0.1:8000/items --rate 200 --duration 10

Exit code: 0 = measured, 1 = the generator itself was late and the figures prove nothing, 2 = wrong use.
"""

_CALIBRATE = """\
examples:
  backstay lab calibrate leaky-checkout
  backstay lab calibrate http://127.0.0.1:8000/items --p99 200

TARGET is a scenario (one of its variants is started for the search) or the URL of a running service.
Exit code: 0 = found, 1 = nothing was sustained, 2 = wrong use.
"""

_SOAK = """\
examples:
  backstay lab soak soak                       ten minutes at 60 % of the knee
  backstay lab soak soak --minutes 1 --rate 150 --variant naive

SCENARIO's faults must end: they come and go, one after the other, until the last minute.
Writes soak.json, soak.svg and a folder of logs.
Exit code: 0 = PASS, 1 = FAIL or INCONCLUSIVE, 2 = wrong use.
"""


def add_parser(subparsers: argparse._SubParsersAction[Any]) -> None:
    """Add `lab` and its own verbs."""
    lab = subparsers.add_parser(
        "lab",
        help="run an experiment: compare, load, calibrate",
        description="Experiments that end in PASS, FAIL or INCONCLUSIVE.",
        epilog=_EPILOG,
    )
    verbs = lab.add_subparsers(
        metavar="VERB", required=True, dest="lab_verb", parser_class=type(lab)
    )
    _add_compare(verbs)
    _add_load(verbs)
    _add_calibrate(verbs)
    _add_soak(verbs)


def execute(args: argparse.Namespace) -> int:
    """Run one of the lab's verbs.

    Args:
        args: as parsed; `lab_verb` says which.

    Returns:
        The exit code.

    Raises:
        UsageError: a person's slip, or a package of the lab extra is missing.
    """
    try:
        module = importlib.import_module(f"backstay.cli._lab_{args.lab_verb}")
        code: int = module.execute(args)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] == "backstay":
            raise
        raise UsageError(
            f"backstay lab needs the package {error.name!r}, which is not installed: "
            "pip install 'backstay[lab]'"
        ) from error
    return code


def _add_compare(verbs: argparse._SubParsersAction[Any]) -> None:
    parser = verbs.add_parser(
        "compare",
        help="the same load and fault on each variant of a system, and a verdict",
        description="Run each variant of a scenario under the same load and the same fault, and judge.",
        epilog=_COMPARE,
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="name or path of a scenario")
    _add_out(parser)
    _add_shape(parser)
    parser.add_argument(
        "--no-calibrate",
        action="store_true",
        help="offer the rate without asking what is sustained",
    )
    parser.add_argument(
        "--variants",
        metavar="A,B",
        default="",
        help="run only these, in the scenario's order; one alone is INCONCLUSIVE",
    )
    _add_json(parser)


def _add_load(verbs: argparse._SubParsersAction[Any]) -> None:
    parser = verbs.add_parser(
        "load",
        help="open-loop load on a URL",
        description="Offer load whose arrivals do not wait for replies; latency counts from the intended start.",
        epilog=_LOAD,
    )
    parser.add_argument("url", metavar="URL", help="http://host:port/path")
    parser.add_argument(
        "--rate", type=positive, default=100.0, metavar="R", help="requests per second (100)"
    )
    parser.add_argument(
        "--duration",
        type=positive,
        default=10.0,
        metavar="S",
        help="seconds, warm-up included (10)",
    )
    parser.add_argument(
        "--warmup", type=seconds, default=0.0, metavar="S", help="first seconds, not judged (0)"
    )
    parser.add_argument(
        "--seed", type=whole, default=1, metavar="N", help="decides the arrivals (1)"
    )
    parser.add_argument(
        "--arrivals", choices=("poisson", "constant"), default="poisson", help="(poisson)"
    )
    parser.add_argument("--connections", type=count, default=256, metavar="N", help="at most (256)")
    parser.add_argument(
        "--timeout", type=positive, default=10.0, metavar="S", help="a user's patience (10)"
    )
    parser.add_argument("--method", default="GET", help="HTTP method (GET)")
    parser.add_argument(
        "--header", action="append", default=[], metavar="'NAME: VALUE'", help="may be repeated"
    )
    parser.add_argument("--body", metavar="TEXT", help="sent with each request")
    parser.add_argument(
        "--workload",
        metavar="MODULE:CLASS",
        help="invents the requests; URL is then only the address",
    )
    _add_json(parser)


def _add_calibrate(verbs: argparse._SubParsersAction[Any]) -> None:
    parser = verbs.add_parser(
        "calibrate",
        help="find the highest rate that a system sustains",
        description="Find the knee by steps: the highest rate sustained within a latency goal.",
        epilog=_CALIBRATE,
    )
    parser.add_argument("target", metavar="TARGET", help="a scenario, or a URL")
    parser.add_argument(
        "--variant", metavar="NAME", help="which variant of the scenario (its last)"
    )
    parser.add_argument(
        "--p99", type=positive, default=500.0, metavar="MS", help="the latency goal (500)"
    )
    parser.add_argument(
        "--budget", type=positive, default=120.0, metavar="S", help="time to search (120)"
    )
    parser.add_argument("--seed", type=whole, metavar="N", help="decides the arrivals")
    _add_out(parser)
    _add_json(parser)


def _add_soak(verbs: argparse._SubParsersAction[Any]) -> None:
    parser = verbs.add_parser(
        "soak",
        help="one variant for long, with faults that come and go, and what is left of it",
        description="Load one variant steadily, break and mend things, and see that nothing stays behind.",
        epilog=_SOAK,
    )
    parser.add_argument("scenario", metavar="SCENARIO", help="name or path of a scenario")
    parser.add_argument(
        "--variant", metavar="NAME", help="which variant of the scenario (its last)"
    )
    parser.add_argument("--minutes", type=positive, default=10.0, metavar="M", help="of load (10)")
    parser.add_argument(
        "--share", type=positive, default=0.6, metavar="X", help="of the knee that is offered (0.6)"
    )
    parser.add_argument(
        "--rate", type=positive, metavar="R", help="offered instead, without looking for the knee"
    )
    parser.add_argument("--seed", type=whole, metavar="N", help="decides arrivals and faults")
    parser.add_argument(
        "--settle",
        type=positive,
        default=30.0,
        metavar="S",
        help="from the load to the question (30)",
    )
    _add_out(parser)
    _add_json(parser)


def _add_out(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--out", type=Path, default=Path("out"), metavar="DIR", help="output folder (out)"
    )


def _add_shape(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seed", type=whole, metavar="N", help="instead of the scenario's")
    parser.add_argument(
        "--rate", type=positive, metavar="R", help="requests per second, instead of the scenario's"
    )
    parser.add_argument(
        "--duration",
        type=positive,
        metavar="S",
        help="seconds of load; warm-up and faults keep their share of it",
    )


def _add_json(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--json", action="store_true", help="one document on stdout")


def positive(text: str) -> float:
    """Read a number above zero."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number above 0")
    return value


def whole(text: str) -> int:
    """Read a whole number, 0 or more."""
    if not (text.isascii() and text.isdecimal() and len(text) < 19):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of 0 or more")
    return int(text)
