"""A guarded ASGI application under `backstay run`: samples know their route and the caller's trace."""

from __future__ import annotations

import http.client
import os
import re
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from backstay.observe.admin import AdminClient
from backstay.observe.profile import from_pprof

pytestmark = pytest.mark.slow

_APPLICATION = """
import time

def compute():
    until = time.thread_time() + 0.01
    while time.thread_time() < until: pass

async def app(scope, receive, send):
    if scope["type"] != "http": return
    compute()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})
"""


def ask(port: int, path: str, trace_id: str, stop: threading.Event) -> None:
    """Send requests of one trace, one after the other."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=15)
    while not stop.is_set():
        client.request("GET", path, headers={"traceparent": f"00-{trace_id}-{'c' * 16}-01"})
        client.getresponse().read()
    client.close()


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_samples_know_their_request(loop: str, tmp_path: Path) -> None:
    """Two clients at once: nearly every sample of the handler has the route with its own trace."""
    (tmp_path / "web.py").write_text(_APPLICATION)
    plane = tmp_path / "a.sock"
    command = ["run", "--port", "0", "--admin", str(plane), "--loop", loop, "web:app"]
    process = subprocess.Popen(
        [sys.executable, "-m", "backstay", *command],
        cwd=tmp_path,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    stop = threading.Event()
    try:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        port = next(
            int(one[1]) for line in lines if (one := re.search(r"127\.0\.0\.1:(\d+)", line))
        )
        callers = [
            threading.Thread(target=ask, args=(port, f"/{sign}", sign * 32, stop)) for sign in "ab"
        ]
        for caller in callers:
            caller.start()
        time.sleep(0.3)
        client = AdminClient(plane, timeout=30)
        profile = from_pprof(client.fetch("/debug/pprof/profile?seconds=3&rate=250"))
        stop.set()
        for caller in callers:
            caller.join()
    finally:
        stop.set()
        process.kill()
        process.communicate()
    right = wrong = 0
    for sample in profile.samples:
        if not any(frame.function == "compute" for frame in sample.stack):
            continue
        labels = {name: str(value) for name, value in sample.labels}
        route, trace = labels.get("route", ""), labels.get("trace_id", "")
        fine = trace[:1] in ("a", "b") and trace == trace[:1] * 32 and route.endswith(trace[:1])
        right += sample.values[0] * fine
        wrong += sample.values[0] * (not fine)
    assert right > 50
    assert right / (right + wrong) >= 0.99
