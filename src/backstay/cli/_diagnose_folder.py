"""The diagnosis with everything it stands on, as one directory to keep or to hand on."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from backstay.errors import UsageError

if TYPE_CHECKING:
    from backstay.observe.diagnose import Diagnosis

__all__ = ["Folder"]

_CPU_S: Final = 30.0  # of the window, at most
_LAST_S: Final = 30.0  # of the flight recorder

Fetch = Callable[[str, float], bytes]


class Folder:
    """Collects files beside a diagnosis, and puts them in place when all of it is there.

    A part that cannot be had is named in the index with the reason; the rest is kept.
    """

    def __init__(self, path: Path, fetch: Fetch) -> None:
        """Make room beside the place where it will stand.

        Args:
            path: the directory to make.
            fetch: asks the plane for a path, with so many seconds more than usual.

        Raises:
            UsageError: it is there already, or cannot be made.
        """
        if path.exists():
            raise UsageError(f"{str(path)!r} is there already: name a directory that is not")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._room = Path(tempfile.mkdtemp(dir=path.parent, prefix=f".{path.name}."))
        except OSError as error:
            raise UsageError(
                f"cannot make the directory {str(path)!r}: {error.strerror}"
            ) from error
        self._path = path
        self._fetch = fetch
        self._files: list[dict[str, Any]] = []
        self._missing: list[dict[str, str]] = []
        self._cpu: threading.Thread | None = None

    def begin(self, seconds: float) -> None:
        """Take what stands at the begin of the window, and profile the processor while it lasts."""
        self._take("tasks-before.pb.gz", "all tasks at the begin", "/debug/pprof/task")
        span = min(seconds, _CPU_S)
        self._cpu = threading.Thread(
            target=self._take,
            args=(
                "cpu.pb.gz",
                "where the processor's time went",
                f"/debug/pprof/profile?seconds={span:g}",
                span,
            ),
            name="backstay-diagnose-cpu",
            daemon=True,
        )
        self._cpu.start()

    def end(self, diagnosis: Diagnosis, heap: bytes | None) -> Path:
        """Take what stands at the end, write the report in its forms and the index; return the directory.

        Raises:
            UsageError: it cannot be written.
        """
        from backstay.observe.diagnose import page, to_text

        self._take("tasks-after.pb.gz", "all tasks at the end", "/debug/pprof/task")
        self._delta()
        self._take("block.pb.gz", "what blocks or has blocked a loop", "/debug/pprof/block")
        last = f"/debug/pprof/trace?last={_LAST_S:g}"
        self._take("trace.pftrace", "the flight recorder's last seconds, for Perfetto", last)
        if self._cpu is not None:
            self._cpu.join(_CPU_S)
        if heap is not None:
            self._put("heap-delta.pb.gz", "memory allocated within a window and still there", heap)
        try:
            for name, what, text in (
                ("report.html", "the report as a page", page(diagnosis)),
                ("report.json", "the same as a document", json.dumps(diagnosis.to_json())),
                ("report.txt", "the same as text", to_text(diagnosis)),
            ):
                self._put(name, what, text.encode("utf-8", "replace"))
            index = {"target": diagnosis.target, "files": self._files, "missing": self._missing}
            (self._room / "index.json").write_text(json.dumps(index, indent=2), encoding="utf-8")
            os.rename(self._room, self._path)  # fails when somebody else has made it meanwhile
        except OSError as error:
            raise UsageError(f"cannot write {str(self._path)!r}: {error.strerror}") from error
        return self._path

    def drop(self) -> None:
        """Remove what was not put in place; harmless after `end`."""
        shutil.rmtree(self._room, ignore_errors=True)

    def _take(self, name: str, what: str, path: str, seconds: float = 0.0) -> None:
        try:
            self._put(name, what, self._fetch(path, seconds))
        except (UsageError, OSError) as error:
            self._missing.append({"name": name, "why": " ".join(str(error).split())[:400]})

    def _put(self, name: str, what: str, data: bytes) -> None:
        (self._room / name).write_bytes(data)
        self._files.append({"name": name, "what": what, "bytes": len(data)})

    def _delta(self) -> None:
        from backstay.observe.profile import diff, from_pprof, to_pprof

        before, after = (self._room / f"tasks-{end}.pb.gz" for end in ("before", "after"))
        if not (before.exists() and after.exists()):
            return
        try:
            found = diff(from_pprof(after.read_bytes()), from_pprof(before.read_bytes()))
        except UsageError as error:
            self._missing.append({"name": "tasks-delta.pb.gz", "why": str(error)})
            return
        self._put("tasks-delta.pb.gz", "tasks that have come and gone between", to_pprof(found))
