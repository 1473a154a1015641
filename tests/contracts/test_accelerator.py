"""The C extension is there where it can be, says the same number everywhere, and exports what is known of it."""

from __future__ import annotations

import inspect
import os
import re
import shutil
import sys
import sysconfig
from importlib import import_module
from pathlib import Path

import pytest

from backstay._base import Accelerator, _acceleration, accelerated

ROOT = Path(__file__).parent.parent.parent
PURE = os.environ.get("BACKSTAY_PURE", "") not in ("", "0")


def can_be_built() -> bool:
    headers = Path(sysconfig.get_path("include")) / "Python.h"
    return (
        sys.implementation.name == "cpython"
        and (3, 11) <= sys.version_info[:2] <= (3, 13)
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and headers.exists()
        and shutil.which((sysconfig.get_config_var("CC") or "cc").split()[0]) is not None
    )


@pytest.mark.skipif(PURE, reason="BACKSTAY_PURE says that it is not wanted")
@pytest.mark.skipif(not can_be_built(), reason="no compiler, or no headers")
def test_it_is_there_where_it_can_be() -> None:
    """A build that fails is quiet, so that installing never fails; here it is not."""
    assert accelerated() is not None, (
        "run scripts/setup; for the reason: python setup.py build_ext -i"
    )


def test_both_sides_have_the_same_number() -> None:
    """A change of what the extension offers changes the number in C and in Python."""
    header = (ROOT / "native" / "accel.h").read_text(encoding="utf-8")
    (number,) = re.findall(r"#define ACCEL_REVISION (\d+)", header)
    assert int(number) == _acceleration._REVISION


@pytest.mark.skipif(accelerated() is None, reason="the extension is not there, or off")
def test_the_protocol_is_what_the_extension_offers() -> None:
    """Type checkers know the extension by a protocol; names and parameters are the real ones."""
    extension = import_module("backstay._accel")
    known = {name for name in vars(Accelerator) if not name.startswith("_")}
    assert known == {
        name for name in vars(extension) if not name.startswith("_") and name != "REVISION"
    }
    for name in known:
        expected = [*inspect.signature(getattr(Accelerator, name)).parameters][1:]
        assert [*inspect.signature(getattr(extension, name)).parameters] == expected
