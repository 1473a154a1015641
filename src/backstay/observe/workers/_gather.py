"""One page of the metrics of several processes.

A scrape of a port that several workers share is answered by any one of them, so whoever answers asks the others
and shows them all: each row has the label ``worker``, the pid of the process that it comes from. They are not
added up here. A sum falls whenever a worker ends, and Prometheus would take that for a counter that began
anew, and invent traffic; of a row for each worker it knows which one ended, and ``sum without (worker) (rate(…))``
is right.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from backstay.errors import BackstayError
from backstay.observe.metrics import Collector, Family, Page, encode, from_document, side_by_side
from backstay.observe.target import AdminClient

__all__ = ["gather", "scrape_workers"]

#: Seconds for all others to answer; a plane needs a tenth of that with its loop blocked.
_PATIENCE_S: Final = 2.0
#: Asked at once, and at all.
_AT_ONCE: Final = 16
_MOST: Final = 128


def scrape_workers(
    sockets: Iterable[str | os.PathLike[str]],
    *,
    own: Collector | None = None,
    accept: str = "",
) -> tuple[str, bytes]:
    """Return the content type and the text of the metrics of several workers; see `gather`.

    Args:
        sockets: the admin sockets of the workers.
        own: reads this process, instead of its socket.
        accept: the Accept header of the request.
    """
    return encode(gather(sockets, own=own), accept)


def gather(
    sockets: Iterable[str | os.PathLike[str]], *, own: Collector | None = None
) -> list[Family]:
    """Ask each worker for its metrics, and put them side by side under the label ``worker``.

    One that does not answer within 2 s is left out and counted in ``backstay_workers_silent``. Call it from a
    thread that is not a loop's, and not from an admin plane's: two of those would wait for each other.

    Args:
        sockets: the admin sockets of the workers, at most 128.
        own: reads this process; then a socket of this process is not asked.

    Returns:
        The families of all.
    """
    targets = list(sockets)[:_MOST]
    pages: dict[str, list[Family]] = {}
    silent = 0
    with ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="backstay-workers") as threads:
        for answer in threads.map(_ask, targets):
            if answer is None:
                silent += 1
            elif own is None or answer[0] != str(os.getpid()):
                pages[answer[0]] = answer[1]
    if own is not None:
        pages[str(os.getpid())] = own.collect()
    return [*side_by_side("worker", dict(sorted(pages.items()))), *_itself(pages, silent)]


def _ask(target: str | os.PathLike[str]) -> tuple[str, list[Family]] | None:
    try:
        said: Mapping[str, Any] = AdminClient(target, timeout=_PATIENCE_S).get("/metrics?json=1")
        return str(int(said["pid"])), from_document(said["families"])
    except (BackstayError, OSError, KeyError, TypeError, ValueError):
        return None  # gone since it was found, hung, or of a version without metrics


def _itself(pages: Mapping[str, object], silent: int) -> list[Family]:
    page = Page()
    page.gauge("backstay_workers", "Workers that are on this page.", len(pages))
    page.gauge("backstay_workers_silent", "Workers that did not answer.", silent)
    return page.families()
