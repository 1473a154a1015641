"""The flight recorder on the admin plane: the last seconds, or the next ones."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Final

from backstay.errors import UsageError
from backstay.observe.desk import Errand, Reply, Request, Wait, as_json, refusal
from backstay.observe.recorder._analysis import analyse
from backstay.observe.recorder._perfetto import to_perfetto
from backstay.observe.recorder._recorder import Recorder, current_recorder
from backstay.observe.recorder._recordings import Recordings, current_recordings
from backstay.observe.recorder._trace import Trace

__all__ = ["RecorderDesk"]

#: Seconds that a trace may be asked to take, or to reach back.
LONGEST_S: Final = 60.0
#: Steps that are written as a file; each has several packets.
_STEPS_IN_FILE = 100_000
_TOP = 500

_OFF = "no flight recorder is at work: start the process with 'backstay run --record', or ask for seconds=N"

_RECORDINGS: Final = "/v1/recordings"
_NONE_MADE = "no recordings are made by themselves: start the process with 'backstay run --record-on slow=500ms'"


class RecorderDesk:
    """Answers ``/v1/timeline``, ``/v1/trace`` and Go's ``/debug/pprof/trace``.

    ``last=S`` reads the recorder that is at work; ``seconds=S`` records for so long, with one of its
    own where none is. ``/v1/recordings`` lists what was recorded by itself, and below it are the files.
    """

    prefixes = ("/v1/timeline", "/v1/trace", "/v1/recordings", "/debug/pprof/trace")
    paths = prefixes
    methods = ("GET",)

    def close(self) -> None:
        """Hold nothing: a recorder of its own ends with the errand that needs it."""

    def answer(self, asked: Request) -> Reply | Errand:
        """Return a document or a file, or an errand that makes it."""
        if asked.path == _RECORDINGS or asked.path.startswith(f"{_RECORDINGS}/"):
            return _of_recordings(asked.path[len(_RECORDINGS) + 1 :])
        try:
            last, seconds = _number(asked, "last"), _number(asked, "seconds")
            top = int(_number(asked, "top") or 50)
        except ValueError as error:
            return refusal(400, str(error))
        form = self._form(asked, top)
        if form is None:
            return refusal(
                404, f"no document at {asked.path}: there are {', '.join(self.prefixes)}"
            )
        if last is not None and seconds is not None:
            return refusal(400, "last and seconds contradict each other: what was, or what comes")
        if asked.path == "/debug/pprof/trace" and last is None:
            seconds = seconds or 1.0  # Go's
        if seconds is not None:
            long = seconds
            return Errand("trace", long, lambda wait: _recorded(form, long, wait))
        recorder = current_recorder()
        if recorder is None:
            if asked.path == "/v1/timeline":
                nothing = Trace(False, 0.0, 0.0, 0, (), ()).to_timeline()
                return as_json({**nothing, "why": _OFF})
            return refusal(409, _OFF)
        recorder.follow()
        return Errand("trace", 1.0, lambda wait: form(recorder.snapshot(last or 10.0)))

    def _form(self, asked: Request, top: int) -> Callable[[Trace], Reply] | None:
        if asked.path == "/v1/timeline":
            return lambda trace: as_json(trace.to_timeline(min(top, _TOP)))
        if asked.path == "/v1/trace":
            return lambda trace: as_json(analyse(trace, asked.query.get("trace_id", "")))
        return _file if asked.path == "/debug/pprof/trace" else None


def _of_recordings(name: str) -> Reply | Errand:
    made = current_recordings()
    if made is not None:  # a directory may be slow to answer
        return Errand("recordings", 5.0, lambda _: _kept(made, name) if name else _listed(made))
    if name:
        return refusal(409, _NONE_MADE)
    return as_json({"recordings": [], "why": _NONE_MADE})


def _listed(made: Recordings) -> Reply:
    counted = made.statistics()
    return as_json(
        {
            "recordings": made.list(),
            "why": "",
            "directory": str(made.directory),
            "triggers": [str(one) for one in made.triggers],
            "written": counted.written,
            "failed": counted.failed,
            "passed_over": counted.passed_over,
        }
    )


def _kept(made: Recordings, name: str) -> Reply:
    body = made.read(name)
    if body is None:
        return refusal(
            404, f"no recording {name[:80]!r} is kept: {_RECORDINGS} lists those that are"
        )
    named = ("Content-Disposition", f'attachment; filename="{name}"')
    return Reply(200, "application/gzip", body, (named,))


def _file(trace: Trace) -> Reply:
    named = ("Content-Disposition", 'attachment; filename="backstay.perfetto-trace"')
    return Reply(
        200, "application/octet-stream", to_perfetto(trace.newest(_STEPS_IN_FILE)), (named,)
    )


def _recorded(form: Callable[[Trace], Reply], seconds: float, wait: Wait) -> Reply:
    recorder = current_recorder()
    if recorder is not None:
        recorder.follow()
        wait(seconds)
        return form(recorder.snapshot(seconds))
    try:
        own = Recorder().start()
    except UsageError as error:  # somebody stands in for call_soon, or has just begun to record
        return refusal(409, str(error))
    try:
        wait(seconds)
        return form(own.snapshot(seconds))
    finally:
        own.stop()


def _number(asked: Request, name: str) -> float | None:
    text = asked.query.get(name)
    if text is None:
        return None
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    most = _TOP if name == "top" else LONGEST_S
    if not 0 < value <= most:
        raise ValueError(f"{name}={text[:40]!r} should be a number above 0, up to {most:g}")
    return value
