"""What is requested: the workload contract, its address for the worker process, and plain URLs."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, cast
from urllib.parse import urlsplit

from backstay.errors import UsageError
from backstay.lab.load._options import check_base_url

__all__ = ["Request", "UrlWorkload", "Workload", "WorkloadSpec", "url_workload"]


@dataclass(frozen=True, slots=True)
class Request:
    """One request, as a workload asks for it.

    Attributes:
        method: the HTTP method, in capitals.
        path: path and query, beginning with a slash.
        headers: pairs of name and value; the generator adds host, content-length and traceparent.
        body: bytes to send, or None.
        kind: a short word that groups requests in the result, for example "create" or "read".
        unaffected: True when a correct service can answer it although the faulted
            dependency is down; the result has the success rate of these separately.
    """

    method: str = "GET"
    path: str = "/"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes | None = None
    kind: str = "request"
    unaffected: bool = True


class Workload(Protocol):
    """What to request next, and whether a reply pleased its user.

    One object serves one run, inside the worker process. It must be deterministic
    given the seed and the replies it has seen, so that both sides of a comparison
    are asked the same.
    """

    def __init__(self, seed: int, options: Mapping[str, object]) -> None:
        """Prepare a run with this seed and the scenario's options."""
        ...

    def next(self) -> Request:
        """Return the request for the next arrival; the generator waits for it, so keep it short."""
        ...

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Look at a reply and say whether it is a success for its user.

        Args:
            request: the object that `next` had returned.
            status: the HTTP status, or None when there was no reply in time.
            body: the reply's body, empty without a reply.
        """
        ...


@dataclass(frozen=True, slots=True)
class WorkloadSpec:
    """Where the worker process finds the workload, since an object cannot travel there.

    Attributes:
        target: ``module:Class``.
        options: given to the class; must survive JSON.
        pythonpath: directories put in front of the module search path.
    """

    target: str
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    pythonpath: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """Return a document that `from_json` reads back unchanged."""
        return {
            "target": self.target,
            "options": dict(self.options),
            "pythonpath": list(self.pythonpath),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> WorkloadSpec:
        """Rebuild a spec from `to_json`'s document."""
        return cls(document["target"], document["options"], tuple(document["pythonpath"]))

    def load(self, seed: int) -> Workload:
        """Import the class and make the workload.

        Raises:
            UsageError: the module or the class is not there, or refuses its options.
        """
        module_name, colon, class_name = self.target.partition(":")
        if not (module_name and colon and class_name):
            raise UsageError(f"bad workload {self.target!r}; expected module:Class")
        sys.path[:0] = [entry for entry in self.pythonpath if entry not in sys.path]
        try:
            factory = getattr(importlib.import_module(module_name), class_name)
        except (ImportError, AttributeError) as error:
            raise UsageError(
                f"cannot load workload {self.target!r} ({error}); "
                f"expected a class in an importable module: check the name and pythonpath"
            ) from error
        try:
            return cast("Workload", factory(seed, self.options))
        except Exception as error:
            raise UsageError(
                f"workload {self.target!r} refused its options: {type(error).__name__}: {error}"
            ) from error


class UrlWorkload:
    """The same request again and again; any status below 400 is a success.

    Options: ``method``, ``path``, ``headers`` (list of pairs), ``body`` (text or None).
    """

    def __init__(self, seed: int, options: Mapping[str, object]) -> None:
        """Build the one request; the seed changes nothing here."""
        headers = cast("list[list[str]]", options.get("headers", []))
        body = cast("str | None", options.get("body"))
        self._request = Request(
            method=str(options.get("method", "GET")),
            path=str(options.get("path", "/")),
            headers=tuple((name, value) for name, value in headers),
            body=None if body is None else body.encode(),
        )

    def next(self) -> Request:
        """Return the one request."""
        return self._request

    def observe(self, request: Request, status: int | None, body: bytes) -> bool:
        """Count any reply below 400 as a success."""
        return status is not None and status < 400


def url_workload(
    url: str,
    *,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (),
    body: str | None = None,
) -> tuple[str, WorkloadSpec]:
    """Split one URL into the base address for `LoadOptions` and the workload that requests it.

    Args:
        url: ``http://host:port/path?query``.
        method: the HTTP method.
        headers: pairs sent with each request.
        body: text sent with each request.

    Returns:
        The base URL and the spec.

    Raises:
        UsageError: the URL is not one this client can request.
    """
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise UsageError(f"bad URL {url!r} ({error}); expected http://host:port/path") from error
    base_url = f"{parts.scheme}://{parts.netloc}"
    check_base_url(base_url)
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    options = {
        "method": method.upper(),
        "path": path,
        "headers": [list(pair) for pair in headers],
        "body": body,
    }
    return base_url, WorkloadSpec("backstay.lab.load:UrlWorkload", options)
