"""Where reports are put: one directory, private, with the newest so many."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from backstay.errors import UsageError
from backstay.observe.diagnose._alert import Alert
from backstay.observe.diagnose._diagnosis import Diagnosis
from backstay.observe.diagnose._page import page
from backstay.observe.diagnose._text import to_text

__all__ = ["Shelf"]

_OURS: Final = re.compile(r"\d{8}T\d{6}Z-[A-Za-z0-9_.-]+-[0-9a-f]{12}\.(html|json|txt)")
_LONGEST_NAME = 60


class Shelf:
    """A directory of reports, of which the oldest go when there are too many."""

    def __init__(self, path: Path, keep: int) -> None:
        """Make the directory, for its owner alone, unless it is there.

        Args:
            path: the directory.
            keep: reports that stay, >= 1.

        Raises:
            UsageError: it cannot be made or written.
        """
        self.path = path
        self._keep = keep
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise UsageError(
                f"cannot make the directory {path} for reports ({error.strerror}): name another with --out"
            ) from error
        if not os.access(path, os.W_OK | os.X_OK):
            raise UsageError(f"cannot write into {path}: name another directory with --out")

    def put(self, alert: Alert, diagnosis: Diagnosis) -> Path:
        """Write page, document and text of a diagnosis; return the path of the page."""
        return self._put(
            alert,
            diagnosis.taken_at,
            {
                "json": json.dumps(diagnosis.to_json()),
                "txt": to_text(diagnosis),
                "html": page(diagnosis),
            },
        )

    def put_failure(self, alert: Alert, at: float, why: str) -> Path:
        """Write why there is no diagnosis, which is an answer as well; return the path.

        Args:
            alert: that asked.
            at: unix seconds.
            why: in one sentence.
        """
        return self._put(alert, at, {"txt": f"No diagnosis for {alert.name}: {why}\n"})

    def _put(self, alert: Alert, at: float, texts: Mapping[str, str]) -> Path:
        stamp = time.strftime("%Y%m%dT%H%M%SZ", time.gmtime(at))
        name = re.sub(r"[^A-Za-z0-9_.-]", "_", alert.name)[:_LONGEST_NAME] or "alert"
        path = self.path
        for kind, text in texts.items():
            path = self.path / f"{stamp}-{name}-{alert.key}.{kind}"
            half = self.path / f".{path.name}.half"
            half.write_text(text, encoding="utf-8", errors="replace")
            half.replace(path)  # whoever watches the directory sees whole files only
        self._clear()
        return path

    def _clear(self) -> None:
        """Remove the oldest of our reports; what others have put here stays."""
        ours = {path.stem for path in self.path.iterdir() if _OURS.fullmatch(path.name)}
        for stem in sorted(ours)[: -self._keep]:
            for kind in ("html", "json", "txt"):
                (self.path / f"{stem}.{kind}").unlink(missing_ok=True)
