"""Run the benchmarks and hold them against budgets.toml."""

from __future__ import annotations

import argparse
import importlib
import json
import sys
import tomllib
from pathlib import Path

from benchmarks.rounds import Figure

ALL = ("spawn", "import_time", "asgi_guard", "dump", "multiloop", "exploration", "sync", "channels")
HERE = Path(__file__).parent


def measure(names: list[str]) -> list[Figure]:
    """Measure the named benchmarks one after another."""
    figures: list[Figure] = []
    for name in names:
        print(f"measuring {name} …", file=sys.stderr, flush=True)
        figures += importlib.import_module(f"benchmarks.{name}").measure()
    return figures


def over_budget(figures: list[Figure], budgets: dict[str, dict[str, float]]) -> list[Figure]:
    """Return the figures that exceed their limit."""
    return [f for f in figures if f.name in budgets and f.value > budgets[f.name]["max"]]


def show(figures: list[Figure], budgets: dict[str, dict[str, float]]) -> None:
    """Print the table, with the peers of each figure below it."""
    for figure in figures:
        limit = budgets.get(figure.name, {}).get("max")
        verdict = "" if limit is None else ("ok" if figure.value <= limit else "OVER")
        bound = "" if limit is None else f"<= {limit:g} {figure.unit}"
        print(
            f"{figure.name:24} {figure.value:8.2f} {figure.unit:3} {bound:12} {verdict:5} {figure.note}"
        )
        if figure.detail:
            peers = "  ".join(f"{peer} {value:.2f}" for peer, value in figure.detail.items())
            print(f"{'':24} {peers}")


def main() -> int:
    """Return 0 when every promise holds, 1 when one does not."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks")
    parser.add_argument("names", nargs="*", choices=[*ALL, []], help="which; all when omitted")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON")
    options = parser.parse_args()
    budgets = tomllib.loads((HERE / "budgets.toml").read_text(encoding="utf-8"))
    names = options.names or list(ALL)
    figures = measure(names)
    suspects = over_budget(figures, budgets)
    if suspects:  # once more, since one bad minute of a shared machine is not a regression
        again = {f.name: f for f in measure(names)}
        figures = [min(f, again[f.name], key=lambda x: x.value) for f in figures]
        suspects = over_budget(figures, budgets)
    if options.json:
        print(json.dumps([vars(f) for f in figures], indent=2))
    else:
        show(figures, budgets)
    return 1 if suspects else 0


if __name__ == "__main__":
    sys.exit(main())
