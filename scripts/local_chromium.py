"""Chromium, for the tests of the pages: from PATH, or from Debian's packages, unpacked."""

from __future__ import annotations

import os
import shutil

from local_packages import unpacked, with_libraries

__all__ = ["chromium_program"]


def chromium_program() -> tuple[str, dict[str, str]]:
    """Return the path of a Chromium, and the environment that it needs.

    Raises:
        Missing: there is none, and none can be fetched.
    """
    for name in ("chromium", "chromium-browser", "google-chrome"):
        found = shutil.which(name)
        if found:
            return found, dict(os.environ)
    root = unpacked("chromium", "chromium", "chromium is not on PATH")
    # The program itself: the script in front of it reads settings of the machine.
    return str(root / "usr/lib/chromium/chromium"), with_libraries(root)
