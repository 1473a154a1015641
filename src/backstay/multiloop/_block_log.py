"""One line in the log for each block, and not ten thousand of them."""

from __future__ import annotations

import logging

from backstay._base import BlockRecord, now

__all__ = ["BlockLog"]

_log = logging.getLogger("backstay.sysmon")

_WINDOW_S = 10.0  # the limits below hold for this long
_LINES_PER_SITE = 1
_LINES = 5
_STILL_S = 1.0  # a block that lasts this long is told while it lasts

_MOST_SITES = 1000


class BlockLog:
    """Writes a line when a block is over, or once it lasts a second.

    At most one line for a site and five in all within ten seconds; what was left
    out is counted in the next line. Subscribe it: ``loop_blocked.subscribe(BlockLog())``.
    """

    def __init__(self) -> None:
        """Begin with a clean window."""
        self._window = float("-inf")
        self._lines = 0
        self._sites: set[str] = set()
        self._left_out = 0
        self._told: set[tuple[str, float]] = set()  # blocks told of while they lasted

    def __call__(self, block: BlockRecord) -> None:
        """Hear of a block; the watching thread calls this."""
        key = (block.thread, block.started_at)
        if not block.ended:
            if block.duration_s < _STILL_S or key in self._told:
                return
            self._told.add(key)
        elif key in self._told:
            self._told.discard(key)
            return
        if self._may_write(block.site):
            self._write(block)
        else:
            self._left_out += 1

    def _may_write(self, site: str) -> bool:
        at = now()
        if at - self._window >= _WINDOW_S:
            self._window, self._lines = at, 0
            self._sites.clear()
        if self._lines >= _LINES or site in self._sites or len(self._sites) >= _MOST_SITES:
            return False
        self._lines += 1
        self._sites.add(site)
        return True

    def _write(self, block: BlockRecord) -> None:
        how = "was blocked for" if block.ended else "has been blocked for"
        whose = f", in task {block.task!r}" if block.task else ""
        if block.owner_path:
            whose += f" of {'/'.join(block.owner_path)}"
        more = f" ({self._left_out} more not shown)" if self._left_out else ""
        self._left_out = 0
        _log.warning(
            "the event loop %s %.2f s by %s at %s%s%s",
            how,
            block.duration_s,
            block.function or "?",
            block.site or "?",
            whose,
            more,
        )
