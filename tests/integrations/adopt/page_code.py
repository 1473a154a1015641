"""The code of the guide, step by step: the service as it is, and each diff applied to the one before."""

from __future__ import annotations

import re
from pathlib import Path

__all__ = ["EXAMPLE", "apply", "code_of_the_test", "service_after"]

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs/how-to/adopt-an-existing-service.md"
EXAMPLE = ROOT / "examples/adopt/orders.py"

_BLOCK = re.compile(r"^```(python|diff|py)\n(.*?)^```", re.MULTILINE | re.DOTALL)
_STEP = re.compile(r"^## (\d)\. ", re.MULTILINE)


def blocks(kind: str, text: str) -> list[str]:
    return [match[2] for match in _BLOCK.finditer(text) if match[1] == kind]


def apply(diff: str, code: str) -> str:
    """Apply the pieces of a diff, each of which must fit in one place."""
    for piece in re.split(r"^@@\n", diff, flags=re.MULTILINE):
        lines = piece.splitlines(keepends=True)
        before = "".join(line[1:] or "\n" for line in lines if line[0] != "+")
        after = "".join(line[1:] or "\n" for line in lines if line[0] != "-")
        places = len(re.findall(f"^{re.escape(before)}", code, re.MULTILINE))
        assert places == 1, f"fits in {places} places:\n{piece}\n{code}"
        at = re.search(f"^{re.escape(before)}", code, re.MULTILINE)
        assert at is not None
        code = code[: at.start()] + after + code[at.end() :]
    return code


def service_after(step: int) -> str:
    """Return the service as it is after a step; 0 is the one that stands at the beginning."""
    page = PAGE.read_text(encoding="utf-8")
    parts = _STEP.split(page)
    (code,) = blocks("python", parts[0])
    for number, text in zip(parts[1::2], parts[2::2], strict=True):
        if int(number) <= step:
            for diff in blocks("diff", text):
                code = apply(diff, code)
    return code


def code_of_the_test() -> str:
    """Return the test that the last step shows."""
    (code,) = blocks("py", PAGE.read_text(encoding="utf-8"))
    return code
