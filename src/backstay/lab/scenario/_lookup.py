"""Find the scenario that a person means: a path, or a name under the working directory."""

from __future__ import annotations

import difflib
from pathlib import Path

from backstay.errors import UsageError

__all__ = ["find_scenario"]

_FOLDER = Path("examples/shop/scenarios")


def find_scenario(name_or_path: str, cwd: Path | None = None) -> Path:
    """Return the file of a scenario.

    Args:
        name_or_path: anything with a slash or ending in .toml is a path; a bare
            word is `examples/shop/scenarios/WORD.toml` under `cwd`.
        cwd: where to look; the working directory when None.

    Raises:
        UsageError: nothing is there; the message lists the names that are.
    """
    base = cwd or Path.cwd()
    if "/" in name_or_path or name_or_path.endswith(".toml"):
        path = Path(name_or_path)
        found = path if path.is_absolute() else base / path
        if not found.is_file():
            raise UsageError(f"no scenario at {name_or_path}: expected a TOML file there")
        return path if not path.is_absolute() and base == Path.cwd() else found
    path = base / _FOLDER / f"{name_or_path}.toml"
    if path.is_file():
        return _FOLDER / path.name if base == Path.cwd() else path
    names = sorted(entry.stem for entry in (base / _FOLDER).glob("*.toml"))
    if not names:
        raise UsageError(
            f"no scenario named {name_or_path!r}: there is no {_FOLDER}/ with .toml files under {base}; "
            "go to the repository's root or give a path to a .toml file"
        )
    near = difflib.get_close_matches(name_or_path, names, 1, 0.5)
    hint = f"did you mean {near[0]!r}?" if near else f"known names: {', '.join(names)}"
    raise UsageError(f"no scenario named {name_or_path!r} in {_FOLDER}/: {hint}")
