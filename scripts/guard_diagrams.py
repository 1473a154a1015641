"""State diagrams of guards, drawn from the tables that decide.

python scripts/guard_diagrams.py        prints the diagram for docs/reference/breaker.md
"""

from __future__ import annotations

from backstay.guard.rules.breaker_rule import TABLE

_WORDS = {
    "too_many_bad": "too many failed or were slow",
    "time_is_up": "its time is up",
    "probes_good": "all probes succeeded",
    "probe_bad": "a probe failed, was slow or hangs",
    "force_open": "force_open()",
    "force_close": "force_close()",
    "reset": "reset()",
}


def breaker_diagram() -> str:
    """Return the breaker's states and what moves it from one to another, as mermaid."""
    lines = ["stateDiagram-v2", "    [*] --> closed"]
    lines += [
        f"    {before} --> {after}: {_WORDS[event]}" for (before, event), after in TABLE.items()
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    print(breaker_diagram())
