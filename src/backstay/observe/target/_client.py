"""The asking end of the admin plane, for the command line, the lab and scripts."""

from __future__ import annotations

import json
import os
import socket
import stat
from contextlib import suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from backstay._base import now
from backstay.errors import TargetGone, UsageError
from backstay.observe.desk import Reply
from backstay.observe.target._location import default_directory, default_socket, known_sockets
from backstay.observe.target._sockets import connectable, peer_of, remove_dead_sockets

__all__ = ["AdminClient"]

#: A dump of 100,000 tasks with stacks has about 50 MB; what is longer is not ours.
_MAX_REPLY_BYTES = 256 * 1024 * 1024

#: Header fields that belong to one connection, or that whoever hands an answer on writes anew.
_OWN_FIELDS = frozenset(
    {
        b"server",
        b"content-type",
        b"content-length",
        b"connection",
        b"cache-control",
        b"x-content-type-options",
    }
)

#: Digits of a pid; the kernel's largest has seven.
_LONGEST_PID = 10

#: Characters of a refusal that are shown.
_LONGEST_REASON = 2000

_HINT = (
    "start it with 'backstay run', open a plane with backstay.observe.admin.AdminServer(), or load one into "
    "the running process with 'backstay attach PID --inject'"
)


class _TooLong(Exception):
    """An answer that is longer than it may be; carries the limit."""


class AdminClient:
    """Reads the documents of one process.

    ::

        print(AdminClient("4711").get("/v1/statistics")["tasks"])

    Every way in which a target can be missing, dead, foreign or mute is one
    `TargetGone` with one line that says which.
    """

    def __init__(
        self,
        target: str | int | os.PathLike[str],
        *,
        timeout: float = 10.0,
        token: str | None = None,
    ) -> None:
        """Name the target; nothing is connected before `get`.

        Args:
            target: a pid, the path of a unix socket, or the URL of a loopback address.
            timeout: seconds for a whole question and answer.
            token: what the plane wants to be told; None for what the environment variable
                BACKSTAY_ADMIN_TOKEN holds.
        """
        self._token = os.environ.get("BACKSTAY_ADMIN_TOKEN", "") if token is None else token
        if not (self._token.isascii() and self._token.isprintable()):
            raise UsageError("the token of the admin plane has characters that no header can carry")
        self._target = os.fspath(target) if not isinstance(target, int) else str(target)
        self._timeout = timeout

    def __repr__(self) -> str:
        """Show the target."""
        return f"<AdminClient {self._target}>"

    def get(self, path: str) -> dict[str, Any]:
        """Return the JSON document at `path`, for example ``/v1/ps?stacks=1``.

        A 503 of ``/livez`` and ``/readyz`` is an answer and returned as such.

        Raises:
            TargetGone: nothing there, no answer in time, or not a Backstay endpoint.
            UsageError: the target is not a pid, path or URL, or the plane refuses the path.
        """
        return self._decode(self._ask(path), path)

    def post(self, path: str, document: object = None) -> dict[str, Any]:
        """Act: send a JSON document to `path`, and return the answer.

        Raises:
            TargetGone: nothing there, no answer in time, or not a Backstay endpoint.
            UsageError: the target is not a pid, path or URL, or the plane refuses; one that was
                opened without ``--allow-actions`` refuses all.
        """
        return self._decode(self._ask(path, json.dumps(document).encode()), path)

    def fetch(self, path: str) -> bytes:
        """Return what stands at `path` as it comes, for example ``/debug/pprof/task``.

        Raises:
            TargetGone: nothing there, no answer in time, or not a Backstay endpoint.
            UsageError: the target is not a pid, path or URL, or the plane refuses the path.
        """
        status_line, fields, body = self._checked(self._ask(path))
        self._whole(fields, body, path)
        if status_line.split(b" ")[1] != b"200":
            reason = _shown(body.decode("utf-8", "replace")) or _shown(
                status_line.decode("latin-1")
            )
            raise UsageError(f"{self._target} refuses {path}: {reason}")
        return body

    def ask(self, path: str, *, most_bytes: int | None = None) -> Reply:
        """Return the answer to `path` whatever its status is, to be handed on.

        Args:
            path: with the query.
            most_bytes: of the answer; a longer one counts as none. 256 MiB when omitted.

        Raises:
            TargetGone: nothing there, no whole answer in time, or not a Backstay endpoint.
            UsageError: the target is not a pid, path or URL.
        """
        status_line, fields, body = self._checked(self._ask(path, most_bytes=most_bytes))
        named = [field.partition(b":") for field in fields]
        told = {name.lower(): value.strip().decode("latin-1") for name, _, value in named}
        self._whole(fields, body, path)
        kept = [
            (name.decode("latin-1"), value.strip().decode("latin-1"))
            for name, _, value in named
            if name.lower() not in _OWN_FIELDS
        ]
        kind = told.get(b"content-type", "application/octet-stream")
        return Reply(int(status_line.split(b" ")[1]), kind, body, tuple(kept))

    def _whole(self, fields: list[bytes], body: bytes, path: str) -> None:
        """Make sure that a body is as long as it was said to be."""
        for field in fields:
            name, _, told = field.partition(b":")
            size = told.strip()
            if name.lower() == b"content-length" and not (size.isdigit() and len(size) < 16):
                raise self._foreign(field)
            if name.lower() == b"content-length" and len(body) < int(size):
                raise self._broken_off(path, body)

    def _ask(self, path: str, body: bytes | None = None, most_bytes: int | None = None) -> bytes:
        if not (path.isascii() and path.isprintable() and path.startswith("/") and " " not in path):
            raise UsageError(f"{path[:100]!r} is no path of an admin plane: write it as in a URL")
        until = now() + self._timeout
        sock = self._connect(until)
        try:
            with suppress(BrokenPipeError):  # a refusal may be waiting to be read
                sock.sendall(self._request(path, body))
            return _read_all(sock, until, _MAX_REPLY_BYTES if most_bytes is None else most_bytes)
        except _TooLong as error:
            raise TargetGone(
                f"{self._target}: the answer to {path} has more than {error.args[0]:,} bytes"
            ) from error
        except TimeoutError as error:
            raise TargetGone(
                f"{self._target}: no answer within {self._timeout:g} s: the process is stopped or "
                f"its interpreter is stuck in a C call; look with 'ps -o stat,wchan'"
            ) from error
        except OSError as error:
            raise TargetGone(
                f"{self._target}: the connection broke ({error.strerror}): has the process ended?"
            ) from error
        finally:
            sock.close()

    def _request(self, path: str, body: bytes | None) -> bytes:
        fields = [f"{'GET' if body is None else 'POST'} {path} HTTP/1.1", "Host: localhost"]
        fields += ["Connection: close"]
        if self._token:
            fields += [f"Authorization: Bearer {self._token}"]
        if body is not None:
            fields += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
        return "\r\n".join([*fields, "", ""]).encode("ascii") + (body or b"")

    def _connect(self, until: float) -> socket.socket:
        target = self._target
        if target.isdecimal():
            if len(target) > _LONGEST_PID:
                raise TargetGone(f"no process with pid {target[:20]}: the number is too long")
            return self._connect_pid(int(target), until)
        if target.startswith(("http://", "https://")):
            return self._connect_url(target, until)
        path = Path(target)
        try:
            found = path.lstat()
        except OSError as error:
            raise TargetGone(
                f"no socket at {target!r} ({error.strerror}): TARGET is a pid, the path of an "
                f"admin socket, or a URL like http://127.0.0.1:9400"
            ) from error
        if not stat.S_ISSOCK(found.st_mode):
            raise TargetGone(f"{target!r} is not a socket: TARGET is a pid, a socket or a URL")
        return self._connect_unix(path, until)

    def _connect_pid(self, pid: int, until: float) -> socket.socket:
        for path in known_sockets(pid):
            with suppress(OSError):
                if stat.S_ISSOCK(path.lstat().st_mode):
                    return self._checked_peer(self._connect_unix(path, until, pid), path, pid)
        if not _exists(pid):
            raise TargetGone(f"no process with pid {pid}: it has ended, or the number is wrong")
        raise TargetGone(
            f"process {pid} runs without an admin plane (no socket at {default_socket(pid)}): "
            f"{_HINT}; when it was given another place, use that path as TARGET"
        )

    def _checked_peer(self, sock: socket.socket, path: Path, pid: int) -> socket.socket:
        """Make sure whose socket it is, before a token is told: anybody can put one into /tmp."""
        peer = peer_of(sock)
        trusted = {0, os.geteuid()}
        with suppress(OSError):
            trusted.add(os.stat(f"/proc/{pid}").st_uid)
        if peer is not None and peer[1] not in trusted:
            sock.close()
            raise TargetGone(
                f"the socket {path} belongs to user {peer[1]}, and process {pid} does not: "
                f"somebody pretends to be it; name its real socket as TARGET"
            )
        return sock

    def _connect_unix(self, path: Path, until: float, pid: int | None = None) -> socket.socket:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(max(0.001, until - now()))
            with connectable(path) as address:
                sock.connect(address)
        except OSError as error:
            sock.close()
            raise TargetGone(self._why_not(path, error, pid)) from error
        except BaseException:
            sock.close()
            raise
        return sock

    def _why_not(self, path: Path, error: OSError, pid: int | None) -> str:
        if isinstance(error, ConnectionRefusedError):
            removed = path.parent == default_directory() and path in remove_dead_sockets(
                path.parent
            )
            who = "" if pid is None else f"process {pid} is gone; "
            what = "it was removed" if removed else "remove it, or start the process again"
            return f"{who}nobody listens at the stale socket {path}: {what}"
        if isinstance(error, PermissionError):
            return f"no permission for {path}: ask as the user who owns the process, or as root"
        if isinstance(error, TimeoutError | BlockingIOError):
            return f"{path}: no answer within {self._timeout:g} s: the process is stopped or hangs"
        return f"cannot connect to {path} ({error.strerror or error}): has the process ended?"

    def _connect_url(self, url: str, until: float) -> socket.socket:
        parts = urlsplit(url)
        try:
            host, port = parts.hostname, parts.port or 80
        except ValueError:
            host, port = None, 0
        if host is None or parts.scheme != "http" or parts.path not in ("", "/"):
            raise UsageError(
                f"{url!r} is not the URL of an admin plane: write http://127.0.0.1:PORT"
            )
        try:
            return socket.create_connection((host, port), timeout=max(0.001, until - now()))
        except OSError as error:
            raise TargetGone(
                f"nothing answers at {url} ({error.strerror or error}): is the process running, "
                f"with --admin {host}:{port}?"
            ) from error

    def _checked(self, reply: bytes) -> tuple[bytes, list[bytes], bytes]:
        """Take a reply apart into status line, header lines and body, if it is one of ours."""
        head, _, body = reply.partition(b"\r\n\r\n")
        status_line, *fields = head.split(b"\r\n")
        parts = status_line.split(b" ")
        ours = any(line.lower() == b"server: backstay-admin" for line in fields)
        said = parts[1] if len(parts) > 1 else b""
        if not (len(said) == 3 and said.isdigit() and parts[0].startswith(b"HTTP/1.") and ours):
            raise self._foreign(status_line)
        return status_line, fields, body

    def _foreign(self, said: bytes) -> TargetGone:
        return TargetGone(
            f"{self._target} is not a Backstay endpoint (it answered {said[:40]!r}): "
            f"TARGET is the admin plane, not the port of the application"
        )

    def _broken_off(self, path: str, body: bytes) -> TargetGone:
        return TargetGone(
            f"{self._target}: the answer to {path} breaks off after {len(body)} bytes: "
            f"has the process ended?"
        )

    def _decode(self, reply: bytes, path: str) -> dict[str, Any]:
        status_line, _, body = self._checked(reply)
        try:
            document: dict[str, Any] = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise self._broken_off(path, body) from error
        if not isinstance(document, dict):
            raise self._foreign(body)
        if status_line.split(b" ")[1] not in (b"200", b"202", b"503") or "error" in document:
            reason = _shown(str(document.get("error") or status_line))
            raise UsageError(f"{self._target} refuses {path}: {reason}")
        return document


def _read_all(sock: socket.socket, until: float, most_bytes: int) -> bytes:
    chunks: list[bytes] = []
    size = 0
    while size < most_bytes:
        if now() >= until:
            raise TimeoutError
        sock.settimeout(max(0.001, until - now()))
        chunk = sock.recv(262_144)
        if not chunk:
            return b"".join(chunks)
        chunks.append(chunk)
        size += len(chunk)
    raise _TooLong(most_bytes)


def _shown(text: str) -> str:
    """Return what a target said as one line that cannot steer a terminal."""
    cut = " ".join(text.split())[:_LONGEST_REASON]
    return "".join(one if one.isprintable() else "?" for one in cut)


def _exists(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (OverflowError, OSError):
        return pid < 2**31
    return True
