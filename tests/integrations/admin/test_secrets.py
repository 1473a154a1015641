"""A secret that a process has in every place where secrets are: no document, report, file or log shows it."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from backstay.errors import BackstayError
from backstay.observe.admin import AdminClient, AdminServer

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]

PROGRAM = Path(__file__).with_name("secretive.py")
SECRET = "hunter2correcthorse"
TOKEN = "tokenofthisplane-42"


class Watched:
    """The process, and what it and its observers have said."""

    def __init__(self, folder: Path, stack: ExitStack) -> None:
        runtime = folder / "run"
        runtime.mkdir(mode=0o700)
        token = folder / "token"
        token.write_text(TOKEN + "\n")
        token.chmod(0o600)
        self.folder = folder
        self.environment = {
            **os.environ,
            "XDG_RUNTIME_DIR": str(runtime),
            "PAYMENTS_TOKEN": SECRET,
            "BACKSTAY_ADMIN_TOKEN": TOKEN,
        }
        self.log = folder / "log"
        flags = ["--record", "--log-leaks", "--leak-interval", "1", "--allow-actions"]
        flags += ["--admin-token-file", str(token)]
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [
                    sys.executable,
                    "-m",
                    "backstay",
                    "run",
                    *flags,
                    str(PROGRAM),
                    str(folder / "ready"),
                ],
                env=self.environment,
                stdout=log,
                stderr=log,
            )
        stack.callback(self.process.wait)
        stack.callback(self.process.kill)
        until = time.monotonic() + 40
        while not (folder / "ready").exists():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < until, self.log.read_text()
            time.sleep(0.02)

    @property
    def socket(self) -> Path:
        """Where its plane listens."""
        return self.folder / "run" / "backstay" / f"{self.process.pid}.sock"

    def verb(self, *words: str) -> bytes:
        """Run `backstay VERB`, and return what it printed."""
        ended = subprocess.run(
            [sys.executable, "-m", "backstay", *words],
            env={**self.environment, "PAYMENTS_TOKEN": ""},
            cwd=self.folder,
            capture_output=True,
            timeout=60,
            check=False,
        )
        assert ended.returncode in (0, 1), ended.stderr
        return ended.stdout + ended.stderr


@pytest.fixture(scope="module")
def watched(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Watched]:
    """Run the service."""
    with ExitStack() as stack:
        yield Watched(tmp_path_factory.mktemp("secretive"), stack)


def told_by(document: bytes) -> list[str]:
    """Return the surroundings of each secret in a document, packed or not."""
    if document[:2] == b"\x1f\x8b":
        document = gzip.decompress(document)
    found: list[str] = []
    for secret in (SECRET.encode(), TOKEN.encode()):
        at = document.find(secret)
        if at >= 0:
            found.append(repr(document[max(0, at - 80) : at + 40]))
    return found


SWITCHES = (
    *("", "stacks=1", "stacks=1&tree=1", "prove=1&text=1", "json=1", "debug=1", "debug=2"),
    *("seconds=1&kind=task", "last=10", "id=1"),
)


def test_no_document_tells_a_secret(watched: Watched) -> None:
    """Each document that the plane has, in each of its forms."""
    client = AdminClient(watched.socket, timeout=60, token=TOKEN)
    leaks: dict[str, list[str]] = {}
    for path in AdminServer(leak_interval=0).paths:
        slow = path.endswith(("/profile", "/wall", "/make"))  # 30 s, unless told otherwise
        for switches in SWITCHES:
            if slow and "seconds" not in switches:
                continue
            asked = f"{path}?{switches}"
            found = told_by(client.ask(asked).body)
            if found:
                leaks[asked] = found
    assert leaks == {}


def test_no_group_and_no_task_tells_a_secret(watched: Watched) -> None:
    """The pages of the single tasks, where the names of all of them stand."""
    client = AdminClient(watched.socket, timeout=60, token=TOKEN)
    told = 0
    for group in client.get("/v1/tasks?fresh=1")["groups"]:
        members = client.get(f"/v1/tasks/members?key={group['key']}")
        assert told_by(json.dumps(members).encode()) == []
        for one in members["members"]:
            reply = client.ask(f"/v1/tasks/one?id={one['id']}")
            assert told_by(reply.body) == []
            told += reply.status == 200
    assert told >= 4


def test_a_probe_hides_what_is_named_like_a_secret(watched: Watched) -> None:
    """By the name of a variable or key, and in a text by what stands before it."""
    client = AdminClient(watched.socket, timeout=60, token=TOKEN)
    line = 1 + next(
        at for at, text in enumerate(PROGRAM.read_text().splitlines()) if "# probed" in text
    )
    shown = ["password", "credentials", "header", "credentials['api_key']", "ADDRESS", "SECRET"]
    set_ = client.post(
        "/v1/probes", {"at": f"{PROGRAM}:{line}", "expressions": shown, "hits": 2, "seconds": 20}
    )
    until = time.monotonic() + 20
    while not (told := client.get(f"/v1/probes/{set_['probe']}"))["hits"]:
        assert time.monotonic() < until, told
        time.sleep(0.05)
    assert told_by(json.dumps(told).encode()) == []
    assert "***" in json.dumps(told)
    assert "<hidden>" in json.dumps(told)


@pytest.mark.parametrize(
    "words",
    [
        ("ps", "PID", "--stacks"),
        ("ps", "PID", "--tree", "--json"),
        ("ps", "PID", "--guards"),
        ("leaks", "PID", "--prove"),
        ("profile", "PID", "--kind", "tasks", "-o", "out.pb.gz"),
        ("profile", "PID", "--kind", "heap", "-o", "out.pb.gz"),
        ("trace", "PID", "--last", "5", "-o", "out.trace"),
        ("diagnose", "PID", "--seconds", "3", "-o", "out.html"),
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_no_verb_tells_a_secret(watched: Watched, words: tuple[str, ...]) -> None:
    """Neither on the terminal nor in the file that it writes."""
    pid = str(watched.process.pid)
    printed = watched.verb(*(pid if one == "PID" else one for one in words))
    assert told_by(printed) == []
    for file in watched.folder.glob("out.*"):
        assert told_by(file.read_bytes()) == []
        file.unlink()


def test_the_token_is_told_to_nobody(watched: Watched) -> None:
    """Neither by `ps`, nor in the environment, nor in a refusal, nor in the log."""
    words = Path(f"/proc/{watched.process.pid}/cmdline").read_bytes()
    assert TOKEN.encode() not in words
    for guess in ("", "wrong", TOKEN[:-1], TOKEN + "x"):
        with pytest.raises(BackstayError) as refused:
            AdminClient(watched.socket, token=guess).get("/v1/ps")
        assert TOKEN not in str(refused.value)
        assert not guess or guess not in str(refused.value)
    assert TOKEN not in watched.log.read_text()


def test_the_log_of_the_kit_tells_no_secret(watched: Watched) -> None:
    """What the kit itself has written: verdicts, failed checks, warnings of tasks that nobody waited for."""
    ours = [line for line in watched.log.read_text().splitlines() if "backstay" in line]
    assert told_by("\n".join(ours).encode()) == []
