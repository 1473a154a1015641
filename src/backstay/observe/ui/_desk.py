"""Answers the documents that the pages need, each made in a thread of its own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final
from urllib.parse import urlencode

from backstay.observe.desk import Desk, Errand, Reply, Request, Wait, as_json, refusal
from backstay.observe.ui._assets import Assets
from backstay.observe.ui._hosts import forward, processes
from backstay.observe.ui._incidents import Incidents
from backstay.observe.ui._now import Present
from backstay.observe.ui._scopes import scope_tree, wait_graph
from backstay.observe.ui._shelf import Shelf
from backstay.observe.ui._survey import Surveyor
from backstay.observe.ui._task_pages import BadQuery, group_page, member_page, one_task
from backstay.observe.ui._top import Top

__all__ = ["UiDesk", "make_desks"]

_PROCESSES: Final = "/v1/processes"
_SAVED: Final = "/v1/saved"
_INCIDENTS: Final = "/v1/incidents"
#: Seconds that the longest profile or diagnosis may take.
_LONGEST_LOOK_S: Final = 300.0
_LONGEST_S: Final = 60.0


def make_desks(profiles: Desk, address: Callable[[], str], token: str) -> tuple[Desk, ...]:
    """Return the desks of the pages.

    Args:
        profiles: the desk that makes profiles.
        address: where the plane listens, once it does.
        token: that it wants; "" for none.
    """
    return Assets(token), UiDesk(profiles, Incidents(address, token))


class UiDesk:
    """Takes requests for what the pages show.

    Attributes:
        prefixes: the paths of its documents.
        paths: all of them.
        methods: GET.
    """

    prefixes = (
        *("/v1/now", "/v1/top", "/v1/tasks", "/v1/scopes", "/v1/waits"),
        *(_SAVED, _INCIDENTS, _PROCESSES),
    )
    paths = (
        *prefixes,
        *("/v1/tasks/members", "/v1/tasks/one", f"{_SAVED}/make", f"{_SAVED}/flame"),
        *(f"{_SAVED}/file", f"{_INCIDENTS}/make", f"{_PROCESSES}/1/v1/statistics"),
    )
    methods = ("GET",)

    def __init__(self, profiles: Desk, incidents: Incidents) -> None:
        """Have seen nothing yet.

        Args:
            profiles: the desk that makes profiles.
            incidents: makes diagnoses.
        """
        self._incidents = incidents
        self._surveyor = Surveyor()
        self._present = Present()
        self._top = Top(self._present)
        self._shelf = Shelf(profiles)
        self._documents: dict[str, Callable[[Mapping[str, str]], Any]] = {
            "/v1/now": lambda query: self._present.document(self._survey(query)),
            "/v1/tasks": lambda query: group_page(self._survey(query), query),
            "/v1/scopes": lambda query: scope_tree(),
            "/v1/waits": lambda query: wait_graph(),
            _SAVED: lambda query: self._shelf.list(),
            _INCIDENTS: self._incidents.list,
            _PROCESSES: lambda query: processes(),
        }

    def answer(self, asked: Request) -> Reply | Errand:
        """Return an errand for what there is, and a refusal for the rest."""
        make = self._maker(asked)
        if make is None:
            known = ", ".join(self.paths)
            return refusal(404, f"no document at {asked.path[:100]}: there are {known}")

        def safely(wait: Wait) -> Reply:
            try:
                return make(wait)
            except BadQuery as error:
                return refusal(400, str(error))

        longest = _LONGEST_LOOK_S if asked.path.endswith("/make") else _LONGEST_S
        return Errand(f"ui{asked.path.replace('/', '-')[:40]}", longest, safely)

    def close(self) -> None:
        """Forget the looks, profiles and diagnoses that are kept."""
        self._surveyor.close()
        self._shelf.close()
        self._incidents.close()

    def _maker(self, asked: Request) -> Callable[[Wait], Reply] | None:
        path, query = asked.path, asked.query
        document = self._documents.get(path)
        if document is not None:
            return lambda wait: as_json(document(query))
        if path == "/v1/top":
            return lambda wait: _or_gone(
                self._top.document(self._surveyor.recent(), query), "spawn site"
            )
        if path == "/v1/tasks/members":
            return lambda wait: _or_gone(
                member_page(self._surveyor.survey(), query.get("key", ""), query), "group"
            )
        if path == "/v1/tasks/one":
            return lambda wait: _or_gone(one_task(query.get("id", "")), "task")
        if path == f"{_SAVED}/make":
            return lambda wait: self._shelf.make(query.get("kind", ""), query, wait)
        if path == f"{_SAVED}/flame":
            return lambda wait: self._shelf.flame(query)
        if path == f"{_SAVED}/file":
            return lambda wait: self._shelf.packed(query.get("id", ""))
        if path == f"{_INCIDENTS}/make":
            return lambda wait: self._incidents.make(query, wait)
        if path.startswith(f"{_PROCESSES}/"):
            pid, _, rest = path.removeprefix(f"{_PROCESSES}/").partition("/")
            return lambda wait: forward(pid, f"/{rest}", urlencode(query))
        return None

    def _survey(self, query: Mapping[str, str]) -> Any:
        return self._surveyor.survey(fresh=query.get("fresh") == "1")


def _or_gone(found: dict[str, Any] | None, what: str) -> Reply:
    return as_json(found) if found is not None else refusal(404, f"this {what} has ended")
