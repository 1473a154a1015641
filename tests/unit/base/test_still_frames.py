"""Frames of another thread are walked while finalizers let go of the interpreter's lock."""

from __future__ import annotations

import gc
import subprocess
import sys

import pytest

from backstay._base import StillFrames

# Functions of different sizes call each other in one thread, so that a frame that is gone has been
# overwritten by another one; garbage whose finalizers sleep is collected amid the walk of the other.
# Without the block Python 3.11 ends by a segmentation fault within some seconds.
WALK = """
import gc, sys, threading, time
from backstay._base import StillFrames

class Garbage:
    def __init__(self): self.me = self
    def __del__(self): time.sleep(0.0003)

calls = []
for k in range(12):
    names = {"calls": calls}
    own = ", ".join(f"x{i}=[]" for i in range(k * 3))
    exec(f"def f{k}(n, {own}):\\n y=[n]*3\\n return calls[(n*7+{k})%12](n-1) if n else sum(y)", names)
    calls.append(names[f"f{k}"])
stop = False

def work():
    while not stop:
        for n in range(3, 40, 3): calls[n % 12](n)

def litter():
    while not stop:
        Garbage()
        time.sleep(0.001)

threads = [threading.Thread(target=work), threading.Thread(target=litter)]
for thread in threads: thread.start()
gc.set_threshold(30, 5, 5)
walks, end = 0, time.monotonic() + 6
while time.monotonic() < end:
    with StillFrames():
        frame = sys._current_frames().get(threads[0].ident)
        while frame is not None: frame = frame.f_back
    walks += 1
stop = True
for thread in threads: thread.join()
assert gc.isenabled()
print(walks)
"""


@pytest.mark.slow
def test_the_frames_of_a_thread_at_work_are_walked_amid_collections() -> None:
    """The interpreter survives it."""
    done = subprocess.run(
        [sys.executable, "-c", WALK], capture_output=True, text=True, check=False, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 1_000


def test_collections_are_allowed_again_only_if_they_were() -> None:
    """Also when the block ends by an error."""
    assert gc.isenabled()
    with pytest.raises(KeyError), StillFrames():
        assert gc.isenabled() is (sys.version_info >= (3, 12))
        raise KeyError
    assert gc.isenabled()
    gc.disable()
    try:
        with StillFrames():
            pass
        assert not gc.isenabled()
    finally:
        gc.enable()
