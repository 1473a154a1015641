"""Where admin sockets live, and that the place is private."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from backstay.errors import UsageError
from backstay.observe.target._location import (
    default_directory,
    default_socket,
    known_sockets,
    private_directory,
)


def test_the_runtime_directory_is_preferred(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A session's own runtime directory is the most private place there is."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert default_directory() == tmp_path / "backstay"
    assert default_socket(7) == tmp_path / "backstay" / "7.sock"


@pytest.mark.parametrize("value", ["", "relative/path", "/nonexistent/runtime"])
def test_an_unusable_runtime_directory_is_ignored(
    value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Containers set the variable without making the directory."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", value)
    assert default_directory() == Path(f"/tmp/backstay-{os.geteuid()}")


def test_another_user_is_looked_for_in_their_place() -> None:
    """Root finds the sockets of a service's user."""
    assert default_directory(12345) == Path("/tmp/backstay-12345")


def test_a_pid_is_looked_for_in_several_places() -> None:
    """The process may have been started without the session's environment."""
    places = known_sockets(os.getpid())
    assert len(places) == len(set(places)) >= 2
    assert all(place.name == f"{os.getpid()}.sock" for place in places)
    assert known_sockets(2**30)


def test_a_directory_is_made_private(tmp_path: Path) -> None:
    """What we make has mode 0700, and is accepted again the next time."""
    made = private_directory(tmp_path / "d")
    assert made.stat().st_mode & 0o777 == 0o700
    assert private_directory(made) == made


def test_an_open_directory_is_refused(tmp_path: Path) -> None:
    """Others could connect, or put a socket of theirs in our place."""
    (tmp_path / "d").mkdir(mode=0o755)
    with pytest.raises(UsageError, match="has mode 0755 and should be 0700: run chmod 700"):
        private_directory(tmp_path / "d")


def test_a_link_and_a_file_are_refused(tmp_path: Path) -> None:
    """A link may lead anywhere."""
    (tmp_path / "link").symlink_to(tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="but is a link"):
        private_directory(tmp_path / "link")
    with pytest.raises(UsageError, match="but is a file"):
        private_directory(tmp_path / "file")


def test_a_directory_of_somebody_else_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever made it can read what is in it."""
    made = private_directory(tmp_path / "d")
    monkeypatch.setattr(os, "geteuid", lambda: made.stat().st_uid + 1)
    with pytest.raises(UsageError, match=r"belongs to user \d+, not to us"):
        private_directory(made)


def test_a_directory_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    """The error names the directory and the cure."""
    with pytest.raises(UsageError, match=r"cannot make the directory .*--admin SOCKET"):
        private_directory(tmp_path / "a" / "b")
