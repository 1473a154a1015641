"""`backstay top` of real processes, in a real terminal: keys are typed, and the screen is read."""

from __future__ import annotations

import json
import os
import signal
import time
from pathlib import Path

import pytest
from real_processes import Command, Process, Start, in_background, line_of
from terminal_screen import Typist

pytestmark = pytest.mark.slow

RUN = ("run", "web:app", "--port", "0", "--admin", "own.sock")
LEAK = line_of("forever(), name")
WAIT = line_of("asyncio.Event().wait()")


def leaking(start: Start, *flags: str, tasks: int = 3) -> Process:
    """Start the application, and some tasks that do not end."""
    process = start(*RUN, *flags)
    for _ in range(tasks):
        assert process.get("/leak") == (200, "ok")
    return process


def test_the_screen_follows_the_process(start: Start, room: Path) -> None:
    """Head, table, a row that grows, its tasks with their chain of calls; q leaves all as it was."""
    process = leaking(start, "--record")
    with Typist(room, "top", "own.sock", "--interval", "0.2") as person:
        before = person.state()
        person.see(rf"^backstay top · {process.pid} backstay web:app · up \d+s · Python 3")
        person.see(r"^\d+ tasks  \+")
        person.see(r"^cpu \d+% · memory .* MB.* · files \d+/.* · threads \d+ · gc ")
        person.see(r"^loop 0 \w+ · lag .* · free \d+% · ready p50 .* p99 .* · step p99 ")
        person.see(rf"^ +3 .* {LEAK} forever +event wait at {WAIT}")
        for _ in range(2):
            process.get("/leak")
        person.see(rf"^ +5 .* {LEAK} forever")
        assert person.screen.modes["1049"], "the other screen, so that what was there comes back"
        person.type("\x1b[B\x1b[A\r")
        person.see(r"^ +TASKS  STATE")
        person.see(rf"^ +5  waiting .* event wait at .*{WAIT}")
        person.see(rf"^  forever  .*{WAIT}")
        person.type("\x1b")
        person.see(r"^q quit")
        person.type("q")
        assert person.end() == 0
        assert person.screen.modes == {"1049": False, "25": True, "7": True}
        assert person.screen.outside.strip() == ""
        assert person.state() == before


def test_order_filter_pause_and_help(start: Start, room: Path) -> None:
    """Each by its key, and each is told on the screen."""
    process = leaking(start)
    with Typist(room, "top", "own.sock", "--interval", "0.2") as person:
        person.see("ALIVE▼")
        person.type("s")
        person.see("every 0.2 s, by growth")
        person.type("ss")
        person.see(r"−/s▼")
        person.type("r")
        person.see(r"−/s▲")
        person.type("/forever no-such-word")
        person.see("^filter: forever no-such-word")
        person.see("^no spawn site has these words")
        person.type("\x7f" * 13 + "\x1b")
        person.see("^q quit")
        person.type("fweb.py\r")
        person.see("filter 'web.py'")
        person.see_no("backstay/tasks")
        person.type("p")
        person.see("PAUSED")
        process.get("/leak")
        until = time.monotonic() + 1.0
        while time.monotonic() < until:
            person.read(0.1)
        person.see(rf"^ +3 .* {LEAK} forever")
        person.type("p")
        person.see(rf"^ +4 .* {LEAK} forever")
        person.type("h")
        person.see("^  q  +quit")
        person.type("qq")
        assert person.end() == 0


def test_the_screen_may_be_of_any_size(start: Start, room: Path) -> None:
    """It follows the window, and never writes beyond it: the screen of the test would complain."""
    leaking(start)
    with Typist(room, "top", "own.sock", "--interval", "0.2") as person:
        person.see(LEAK)
        for columns, lines in ((200, 50), (60, 12), (20, 4), (5, 2), (1, 1), (110, 24)):
            person.size(columns, lines)
            until = time.monotonic() + 0.8
            while time.monotonic() < until:
                assert person.read(0.1)
        person.see(LEAK)
        person.see("^q quit")
        person.type("q")
        assert person.end() == 0


def test_a_target_that_ends_is_told_and_the_figures_stay(start: Start, room: Path) -> None:
    """Until the person has seen enough; then the reason is left in the terminal. A new one is met."""
    process = leaking(start)
    with Typist(room, "top", "own.sock", "--interval", "0.2") as person:
        person.see(LEAK)
        process.signal(signal.SIGKILL)
        process.end()
        person.see(r"^no figures since: .*own\.sock")
        person.see(LEAK)
        again = start(*RUN)
        person.see(rf"^backstay top · {again.pid} ")
        person.see_no("no figures since")
        again.signal(signal.SIGKILL)
        again.end()
        person.see(r"^no figures since: ")
        person.type("q")
        assert person.end() == 2
        assert person.screen.outside.strip().startswith("backstay top: ")
        assert person.screen.outside.strip().count("\n") == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_gives_the_terminal_back(start: Start, room: Path, number: int) -> None:
    """Ctrl-C is one way to have seen enough; the others end it as they end any program."""
    leaking(start)
    with Typist(room, "top", "own.sock") as person:
        before = person.state()
        person.see(LEAK)
        os.kill(person.pid, number)
        assert person.end() == (0 if number == signal.SIGINT else 128 + number)
        assert person.screen.modes == {"1049": False, "25": True, "7": True}
        assert person.state() == before


def test_it_can_be_stopped_and_continued(start: Start, room: Path) -> None:
    """Ctrl-Z leads back to the shell, with the terminal as it was; `fg` paints the screen anew."""
    leaking(start)
    shell = "echo SHELL; stty -a | grep -ow '.\\?icanon'; read line; fg; exit $?"
    with Typist(room, "top", "own.sock", "--interval", "0.2", in_shell=shell) as person:
        person.see(LEAK)
        person.type("\x1a")
        while "icanon" not in person.screen.outside:
            assert person.read(5.0)
        assert "-icanon" not in person.screen.outside
        assert person.screen.modes == {"1049": False, "25": True, "7": True}
        person.screen.resize(110, 24)
        person.type("go on\r")
        person.see(LEAK)
        person.type("q")
        assert person.end() == 0


def test_a_blocked_loop_is_named_while_it_lasts(start: Start, room: Path) -> None:
    """The function and the line, the lag of the loop, and keys that go on working."""
    process = leaking(start, "--observe")
    with Typist(room, "top", "own.sock", "--interval", "0.2") as person:
        person.see(LEAK)
        blocked = in_background(lambda: process.get("/block/4"))
        process.wait_for("at /block/4")
        person.see(rf"^BLOCKED for .* by app at .*{line_of('time.sleep(float(path[7:]))')}")
        person.see(r"^loop 0 \w+ · lag [\d.]+ s")
        person.type("h")
        person.see("^  q  +quit")
        person.type("hq")
        assert person.end() == 0
        assert blocked() == (200, "ok")


def test_no_color_means_none(start: Start, room: Path) -> None:
    """Bold and reverse stay, since a row has to be chosen; with colours, a target that is gone is red."""
    process = leaking(start)
    with (
        Typist(room, "top", "own.sock", "--interval", "0.2", NO_COLOR="1") as grey,
        Typist(room, "top", "own.sock", "--interval", "0.2") as red,
    ):
        for person in (grey, red):
            person.see(LEAK)
        process.signal(signal.SIGKILL)
        for person in (grey, red):
            person.see("^no figures since")
        assert "31" in red.screen.colours
        assert grey.screen.colours <= {"0", "1", "2", "4", "7"}


def test_without_a_terminal_it_prints_pages(start: Start, backstay: Command) -> None:
    """One page; N of them; and the same as JSON, with rates that count from a look before."""
    process = leaking(start)
    for flags in (("--once",), ()):
        seen = backstay("top", "own.sock", "--interval", "0.2", *flags)
        assert seen.returncode == 0, seen.stderr
        assert seen.stdout.startswith(f"backstay top · {process.pid} backstay web:app")
        assert "ALIVE▼" in seen.stdout
        assert f"{LEAK} forever" in seen.stdout
        assert "\x1b" not in seen.stdout
    one = json.loads(backstay("top", "own.sock", "--interval", "0.2", "--json").stdout)
    (group,) = [one for one in one["groups"] if one["site"].endswith(LEAK)]
    assert (group["alive"], group["born_per_s"], group["ended_per_s"]) == (3, 0, 0)
    assert (group["function"], group["coroutine"]) == ("app", "forever")
    assert one["span_s"] >= 0.15
    lines = backstay("top", "own.sock", "--interval", "0.1", "--batch", "3", "--json").stdout
    assert [json.loads(line)["pid"] for line in lines.splitlines()] == [process.pid] * 3
    pages = backstay("top", "own.sock", "--interval", "0.1", "--batch", "2", "--rows", "1")
    assert pages.stdout.count("more spawn sites") == 2
    ascii_only = backstay("top", "own.sock", "--once", PYTHONIOENCODING="ascii")
    assert ascii_only.stdout.isascii()
    assert LEAK in ascii_only.stdout


def test_wrong_use_and_an_end_in_a_batch_are_one_line(start: Start, backstay: Command) -> None:
    """And exit code 2."""
    process = leaking(start)
    batch = in_background(lambda: backstay("top", "own.sock", "--batch", "500"))
    time.sleep(1.5)
    process.signal(signal.SIGKILL)
    process.end()
    seen = batch()
    assert seen.returncode == 2
    assert seen.stderr.startswith("backstay top: ")
    assert seen.stderr.count("\n") == 1
    for words in (
        ("top", "own.sock"),
        ("top", "own.sock", "--sort", "beauty"),
        ("top", "own.sock", "--interval", "0"),
        ("top", "own.sock", "--batch", "0"),
        ("top", "own.sock", "--once", "--batch", "2"),
    ):
        wrong = backstay(*words)
        assert (wrong.returncode, wrong.stdout) == (2, "")
        assert wrong.stderr.count("\n") == 1
