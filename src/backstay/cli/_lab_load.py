"""`backstay lab load`: open-loop load on a URL."""

from __future__ import annotations

import argparse
import json
import sys

from backstay.cli._lab_run import Interrupted, run_experiment
from backstay.errors import BackstayError, UsageError
from backstay.lab.load import (
    LoadOptions,
    SecondRecord,
    WorkloadSpec,
    run_load,
    to_text,
    url_workload,
)

__all__ = ["execute"]


def execute(args: argparse.Namespace) -> int:
    """Offer the load and print what it found.

    Returns:
        0 when the figures can be trusted, 1 when not, 128 + n when signal n ended it.

    Raises:
        UsageError: a flag is wrong, or nothing listens at the URL.
    """
    if "://" not in args.url:
        raise UsageError(f"{args.url!r} is not a URL: expected http://host:port/path")
    base_url, spec = url_workload(
        args.url,
        method=args.method,
        headers=tuple(_header(text) for text in args.header),
        body=args.body,
    )
    if args.workload:
        spec = WorkloadSpec(args.workload, {}, ("",))
    options = LoadOptions(
        base_url,
        rate=args.rate,
        duration_s=args.duration,
        warmup_s=args.warmup,
        seed=args.seed,
        arrivals=args.arrivals,
        connections=args.connections,
        timeout_s=args.timeout,
    )
    try:
        result = run_experiment(lambda: run_load(options, spec, progress=_show))
    except Interrupted as end:
        return end.code
    except UsageError:
        raise
    except BackstayError as error:
        print(f"backstay lab load: {error}", file=sys.stderr)
        return 1
    print(json.dumps(result.to_json(), indent=2) if args.json else to_text(result))
    return 0 if result.valid else 1


def _header(text: str) -> tuple[str, str]:
    name, colon, value = text.partition(":")
    if not colon or not name.strip():
        raise UsageError(f"--header {text!r}: expected 'Name: value'")
    return name.strip(), value.strip()


def _show(second: SecondRecord) -> None:
    p99 = "–" if second.p99_s is None else f"{second.p99_s * 1e3:.0f} ms"
    print(
        f"[{second.second + 1:4d} s] sent {second.sent}  ok {second.ok}  failed {second.failed}  p99 {p99}",
        file=sys.stderr,
    )
