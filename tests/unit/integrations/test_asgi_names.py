"""Names of requests: few, short, and the same for all requests of one kind."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from backstay.integrations.asgi._names import RouteNames
from backstay.integrations.asgi._options import Route, RouteTable


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/", "GET /"),
        ("/orders/17", "GET /orders/{id}"),
        ("/orders/17/items/3", "GET /orders/{id}/items/{id}"),
        ("/u/4f9c1c1e-9a7e-4a57-9f6e-1f2d3c4b5a69", "GET /u/{id}"),
        ("/blob/deadbeef00", "GET /blob/{id}"),
        ("/t/01ARZ3NDEKTSV4RRFFQ69G5FAV", "GET /t/{id}"),
        ("/static/application.css", "GET /static/application.css"),
        ("/v2/items", "GET /v2/items"),
        ("/a\nb/\x1b[31m", "GET /a?b/??31m"),
        ("/" + "x" * 100, "GET /{id}"),
        ("/a/b/c/d/e/f/g/h/i/j", "GET /a/b/c/d/e/f/g/h/…"),
    ],
)
def test_a_first_path_is_named_by_its_looks(path: str, name: str) -> None:
    """What looks like an id is one; control characters never reach a label."""
    assert RouteNames().name("GET", path) == name


def test_templates_are_learned_from_what_the_framework_says() -> None:
    """The next path of the same route bears the route's own name, whatever its values."""
    names = RouteNames()
    assert names.name("GET", "/users/alice") == "GET /users/alice"
    names.learn("GET", "/users/alice", {"user": "alice"})
    assert names.name("GET", "/users/bob") == "GET /users/{user}"
    assert names.known["GET", "/users/bob"] == "GET /users/{user}"
    assert "GET /users/{user}" in names.learned
    names.learn("GET", "/users/carol", {"user": "carol"})
    names.learn("GET", "/users", {"page": "7"})
    names.learn("GET", "/users", {})
    assert names.name("POST", "/users/alice") == "POST /users/alice"


def test_the_number_of_names_is_bounded() -> None:
    """Somebody who tries every path adds one label, not one per path."""
    names = RouteNames()
    made = {
        names.name("GET", f"/scan/{chr(97 + i % 26)}{chr(97 + i // 26 % 26)}x") for i in range(600)
    }
    assert len(made) <= 257
    assert "GET *" in made


@given(st.text(max_size=300), st.text(max_size=20))
def test_any_path_and_method_give_a_short_clean_name(path: str, method: str) -> None:
    """Names are bounded and printable, and asking twice gives the same."""
    names = RouteNames()
    name = names.name(method, "/" + path)
    assert len(name) <= 132
    assert name.isprintable()
    assert (names.known.get((method, "/" + path), name)) == name


def test_routes_are_found_by_plain_path_first_and_then_by_pattern_in_order() -> None:
    """A plain path beats a pattern; among patterns the first wins."""
    exact, first, second = Route("/a/b"), Route("/a/*"), Route("*")
    table = RouteTable([first, second, exact])
    assert table.find("/a/b") is exact
    assert table.find("/a/c/d") is first
    assert table.find("/x") is second
    assert RouteTable([exact]).find("/x") is None
    assert not RouteTable([])
