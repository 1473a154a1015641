"""Real processes that were not prepared are entered, and live on."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from backstay.cli import main
from backstay.errors import TargetGone, UsageError
from backstay.observe.attach import load_into, look_at

pytestmark = [pytest.mark.slow]

_PROGRAM = Path(__file__).with_name("unprepared.py")


needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


@contextmanager
def running(how: str, loop: str = "asyncio", before: tuple[str, ...] = ()) -> Iterator[int]:
    """Start the program; at the end it must still be alive."""
    with subprocess.Popen(
        [*before, sys.executable, "-c", _PROGRAM.read_text("utf-8"), how, loop],
        stdout=subprocess.PIPE,
        cwd="/",
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            yield process.pid
            assert process.poll() is None, f"it has ended with {process.returncode}"
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("how", "loop"),
    [
        (how, loop)
        for how in ("idle", "busy", "spinning", "sleeping")
        for loop in ("asyncio", "uvloop")
    ]
    + [("idle", "poll")],
)
def test_the_tasks_of_an_unprepared_process_are_told_again_and_again(how: str, loop: str) -> None:
    """Each of ten looks finds all tasks and whom the first one waits for, and leaves no memory behind."""
    with running(how, loop) as pid:
        for _ in range(10):
            found = look_at(pid)
            by_name = {task["name"]: task for task in found["list"]}
            assert {f"worker-{n}" for n in range(5)} <= set(by_name)
            assert "worker-3" in by_name["Task-1"]["waits_on"]
            assert by_name["worker-0"]["stack"][-1][0] == "sleep"
            assert found["injection"]["left_bytes"] == 0


@pytest.mark.parametrize("how", ["locked", "computing"])
def test_a_c_function_that_keeps_the_lock_is_given_up_and_unharmed(how: str) -> None:
    """The request is withdrawn in time, and what was withdrawn is not run later."""

    def given_up(pid: int) -> bool:
        try:
            look_at(pid, patience=0.1)
        except TargetGone as error:
            return "did not come round within 0.1 s" in str(error)
        return False  # it was by chance between two of those calls

    with running(how) as pid:
        assert any(given_up(pid) for _ in range(20))
        assert look_at(pid, patience=10)["tasks"] == 7


def test_late_loading_opens_an_admin_plane_that_answers() -> None:
    """After it, the process is one that was prepared: its tasks are tracked from then on."""
    from backstay.observe.admin import AdminClient

    with running("busy") as pid:
        found = load_into(pid, options={"leak_interval": 0})
        assert (found["loops"], found["tracked"]) == (1, 1)
        assert AdminClient(pid).get("/v1/statistics")["tasks"] == 7


def test_a_killed_injector_leaves_the_process_unharmed() -> None:
    """Whenever SIGKILL meets it, the process goes on by itself, and the next one can look."""
    visitor = (
        "import sys; from backstay.observe.attach import look_at\n"
        "print('ready', flush=True)\n"
        "while True: look_at(int(sys.argv[1]))"
    )
    with running("busy") as pid:
        for round_ in range(12):
            with subprocess.Popen(
                [sys.executable, "-c", visitor, str(pid)], stdout=subprocess.PIPE
            ) as injector:
                assert injector.stdout is not None
                injector.stdout.readline()
                time.sleep(0.03 + 0.0017 * round_)
                injector.send_signal(signal.SIGKILL)
        assert look_at(pid)["tasks"] == 7


def test_a_line_of_an_unprepared_process_is_watched(capsys: pytest.CaptureFixture[str]) -> None:
    """Loaded late and allowed to act, Backstay sets probes there, too, on code that runs already."""
    with subprocess.Popen([sys.executable, _PROGRAM, "busy"], stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == b"ready\n"
            pid = str(process.pid)
            assert main(["attach", pid, "--inject", "--allow-actions"]) == 0
            lines = _PROGRAM.read_text("utf-8").splitlines()
            number = 1 + next(n for n, text in enumerate(lines) if "sum(i * i" in text)
            place = f"attach/unprepared.py:{number}"
            capsys.readouterr()
            assert main(["probe", pid, place, "--hits", "1", "--expr", "how"]) == 0
            assert "how = 'busy'" in capsys.readouterr().out
            assert process.poll() is None
        finally:
            process.kill()


@needs_root
def test_a_process_with_a_tmp_of_its_own_and_another_user_is_reached() -> None:
    """As in a container: the answer goes through the process's own directories, owned by its user."""
    if shutil.which("unshare") is None or shutil.which("setpriv") is None:
        pytest.skip("util-linux (unshare, setpriv) is not installed")
    inside = (
        "mount -t tmpfs -o mode=1777 none /tmp && exec setpriv --reuid 65534 --clear-groups --inh-caps=-all "
        '"$@"'
    )
    before = ("unshare", "--mount", "sh", "-c", inside, "sh")
    if subprocess.run([*before, sys.executable, "-c", "import asyncio"], check=False).returncode:
        pytest.skip(
            "no mount namespace can be made here, or this Python cannot be run by another user"
        )
    with running("busy", before=before) as pid:
        assert os.stat(f"/proc/{pid}").st_uid == 65534
        assert look_at(pid)["tasks"] == 7
        assert not os.listdir(f"/proc/{pid}/root/tmp")


@needs_root
def test_somebody_elses_process_is_refused_by_name() -> None:
    """Without the right to trace it nothing is touched, and the message says whose it is."""
    with running("idle") as pid:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.setgroups([])
            os.setuid(65534)
            try:
                look_at(pid)
            except UsageError as error:
                os.write(writer, str(error).encode())
            os._exit(0)
        os.close(writer)
        os.waitpid(child, 0)
        with open(reader, encoding="utf-8") as told:
            assert f"process {pid} belongs to user 0, not to us (65534)" in told.read()


def test_a_stopped_process_is_refused() -> None:
    """Somebody has stopped it on purpose."""
    with running("idle") as pid:
        os.kill(pid, signal.SIGSTOP)
        try:
            while b"(stopped)" not in Path(f"/proc/{pid}/status").read_bytes():
                time.sleep(0.01)
            with pytest.raises(UsageError, match="is in state T"):
                look_at(pid)
        finally:
            os.kill(pid, signal.SIGCONT)


def test_a_program_that_is_no_python_is_refused() -> None:
    """Its files tell."""
    with subprocess.Popen(["sleep", "60"]) as other:
        try:
            with pytest.raises(UsageError, match="does not run CPython"):
                look_at(other.pid)
        finally:
            other.kill()


def test_the_command_says_which_way_was_taken(capsys: pytest.CaptureFixture[str]) -> None:
    """`ps` needs the flag, `attach` opens a plane, and then `ps` needs nothing."""
    with running("idle") as pid:
        assert main(["ps", str(pid), "--guards", "--inject"]) == 2
        assert "neither guards nor owners" in capsys.readouterr().err
        assert main(["ps", str(pid), "--inject", "--json"]) == 0
        assert json.loads(capsys.readouterr().out)["way"] == "injected while its loop was waiting"
        assert main(["ps", str(pid), "--inject", "--stacks"]) == 0
        assert "waits for _GatheringFuture on worker-0" in capsys.readouterr().out
        assert main(["attach", str(pid)]) == 2
        assert "add --inject" in capsys.readouterr().err
        assert main(["attach", str(pid), "--inject"]) == 0
        assert "1 of 1 loops tracked" in capsys.readouterr().out
        assert main(["attach", str(pid)]) == 0
        assert "it has an admin plane already" in capsys.readouterr().out
        assert main(["ps", str(pid)]) == 0
        assert "6 tasks in 2 groups" in capsys.readouterr().out


def test_two_at_a_time_do_not_enter_one_process() -> None:
    """The second is told, and nothing is touched."""
    with running("busy") as pid, socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as other:
        other.bind(f"\0backstay-attach-{pid}")
        with pytest.raises(UsageError, match="somebody else is entering process"):
            look_at(pid)
