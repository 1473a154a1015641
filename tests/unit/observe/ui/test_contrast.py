"""The colours of the pages: text is read by tired eyes on bad screens, so it meets WCAG's level AA."""

from __future__ import annotations

import re
from importlib import resources

import pytest

CSS = (resources.files("backstay.observe.ui") / "static" / "app.css").read_text()
TEXTS = ("text", "dim", "link", "good", "warn", "bad")
GROUNDS = ("bg", "panel", "hover")
PAIRS = [
    *((text, ground) for text in TEXTS for ground in GROUNDS),
    *(("text", "bad-bg"), ("bad", "bad-bg"), ("dim", "bad-bg"), ("link", "bad-bg")),
    *(("text", "warn-bg"), ("warn", "warn-bg"), ("dim", "warn-bg"), ("link", "warn-bg")),
    ("panel", "link"),  # the button that matters most
]


def colours(dark: bool) -> dict[str, str]:
    """Return the colours of a theme by their names."""
    block = CSS.partition(':root[data-theme="dark"]' if dark else ":root")[2].partition("}")[0]
    return dict(re.findall(r"--([\w-]+): (#[0-9a-f]{3,6})\b", block))


def luminance(colour: str) -> float:
    """Return the relative luminance, as WCAG 2.2 defines it."""
    digits = colour[1:] if len(colour) == 7 else "".join(one * 2 for one in colour[1:])
    parts = [int(digits[at : at + 2], 16) / 255 for at in (0, 2, 4)]
    red, green, blue = (c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize(("text", "ground"), PAIRS)
def test_text_stands_out_from_its_ground(text: str, ground: str, dark: bool) -> None:
    """4.5 to 1 for text of any size, in both themes."""
    theme = colours(dark)
    one, other = sorted((luminance(theme[text]), luminance(theme[ground])))
    assert (other + 0.05) / (one + 0.05) >= 4.5


def test_nothing_moves_by_itself() -> None:
    """Without animations there is nothing to switch off for those who asked for less motion."""
    assert not re.search(r"transition|animation|scroll-behavior", CSS) or "reduced-motion" in CSS
