"""The one part of the build that pyproject.toml cannot say: an extension that may be missing.

`backstay._accel` does in C what two files of the package do in Python (docs/decisions/0007). Without
a compiler, or without Python's headers, the build says so and goes on. It is not even tried with
BACKSTAY_PURE=1, nor on an interpreter that it was never tested on: there pure Python does the work.
"""

import os
import sys
import sysconfig

from setuptools import Extension, setup


def fits() -> bool:
    """Return whether this interpreter is one that the C code knows: CPython 3.11-3.13 with its GIL."""
    return (
        sys.implementation.name == "cpython"
        and (3, 11) <= sys.version_info[:2] <= (3, 13)
        and not sysconfig.get_config_var("Py_GIL_DISABLED")
        and os.environ.get("BACKSTAY_PURE", "") in ("", "0")
    )


accelerator = Extension(
    "backstay._accel",
    sources=[
        "native/module.c",
        "native/recorder.c",
        "native/task_factory.c",
        "native/trial_deletion.c",
    ],
    depends=["native/accel.h", "native/tables.h"],
    extra_compile_args=[] if sys.platform == "win32" else ["-std=c11", "-fvisibility=hidden"],
    optional=True,
)

setup(ext_modules=[accelerator] if fits() else [])
