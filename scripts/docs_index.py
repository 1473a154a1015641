"""Write docs/README.md: every page by kind, with its title and its first sentence's worth of promise.

Run it after adding a page; the test that every page can be reached fails until then.
"""

from __future__ import annotations

from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
KINDS = {
    "tutorial": "Tutorials: learn by doing",
    "how-to": "How-to: you have a problem now",
    "reference": "Reference: the facts",
    "explanation": "Explanation: why it is so",
    "decisions": "Decisions: what was weighed",
}


def title_of(page: Path) -> str:
    """Return the text of the page's first heading."""
    for line in page.read_text(encoding="utf-8").splitlines():
        if line.startswith("# "):
            return line.removeprefix("# ").strip()
    raise SystemExit(f"{page}: no heading '# …' found; every page begins with one")


def main() -> None:
    """Gather the titles and write the index."""
    lines = ["# Documentation", "", "Four kinds of pages, for four kinds of questions.", ""]
    for folder, heading in KINDS.items():
        lines += [f"## {heading}", ""]
        lines += [
            f"* [{title_of(page)}]({folder}/{page.name})"
            for page in sorted((DOCS / folder).glob("*.md"))
        ]
        lines.append("")
    (DOCS / "README.md").write_text("\n".join(lines), encoding="utf-8")


if __name__ == "__main__":
    main()
