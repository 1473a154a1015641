"""The lab's line to its guardian: whatever is entrusted here does not outlive the lab."""

from __future__ import annotations

import contextlib
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from types import TracebackType

__all__ = ["Wardship"]

_GUARDIAN = Path(__file__).with_name("_guardian.py")


class Wardship:
    """A guardian process, and the groups and folders entrusted to it.

    Use as a context manager. Leaving the block lets the guardian clean up what
    is still entrusted, and waits for it; a lab that is killed leaves the block
    in effect too, since its end of the pipe closes.
    """

    def __init__(self) -> None:
        """Prepare; nothing is started before the block is entered."""
        self._guardian: subprocess.Popen[str] | None = None

    def __enter__(self) -> Wardship:
        """Start the guardian, in a session of its own so that no terminal signal reaches it."""
        self._guardian = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
            bufsize=1,
            cwd="/",
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Let the guardian do its last duty and end."""
        guardian, self._guardian = self._guardian, None
        if guardian is None or guardian.stdin is None:
            return
        with contextlib.suppress(BrokenPipeError):
            guardian.stdin.close()
        try:
            guardian.wait(timeout=5)
        except subprocess.TimeoutExpired:
            guardian.send_signal(signal.SIGKILL)
            guardian.wait()

    def entrust_group(self, group: int) -> None:
        """Have a process group killed when the lab ends."""
        self._order(f"group {group}")

    def release_group(self, group: int) -> None:
        """Say that a process group has ended, so that its number may be reused by others."""
        self._order(f"forget {group}")

    def temporary_folder(self) -> Path:
        """Make a short-named private folder that does not outlive the lab.

        Short, since the path of a unix socket may have 107 bytes at most.
        """
        folder = Path(tempfile.mkdtemp(prefix="backstay-"))
        self._order(f"folder {folder}")
        return folder

    def drop_folder(self, folder: Path) -> None:
        """Remove a temporary folder now."""
        shutil.rmtree(folder, ignore_errors=True)
        self._order(f"dropped {folder}")

    def _order(self, line: str) -> None:
        if self._guardian is None or self._guardian.stdin is None:
            raise RuntimeError("nothing can be entrusted outside of the block of a Wardship")
        # A guardian that was killed guards nothing more; the parent-death signal still holds.
        with contextlib.suppress(BrokenPipeError):
            self._guardian.stdin.write(line + "\n")
            self._guardian.stdin.flush()
