"""Backstay: every task has an owner, a deadline and an exit.

The day-one words live here; each room has more: `backstay.context`,
`backstay.tasks`, `backstay.sync`, `backstay.channels`, `backstay.leak`,
`backstay.testing`, `backstay.integrations`.
Importing does nothing: no thread, no patch, no look at the environment.
"""

from typing import TYPE_CHECKING, Any

from backstay._base import now
from backstay.context import Key, bind, remaining
from backstay.tasks import (
    Scope,
    current_scope,
    deadline_at,
    forever,
    go,
    install,
    run,
    timeout,
    uninstall,
)

if TYPE_CHECKING:
    from backstay.channels import DEFAULT, Channel, Selected, after, select
    from backstay.observe.recorder import region
    from backstay.sync import (
        Mutex,
        Once,
        RWMutex,
        Semaphore,
        SingleFlight,
        WaitGroup,
        once_value,
    )

__version__ = "0.1.0.dev0"

__all__ = [
    "DEFAULT",
    "Channel",
    "Key",
    "Mutex",
    "Once",
    "RWMutex",
    "Scope",
    "Selected",
    "Semaphore",
    "SingleFlight",
    "WaitGroup",
    "__version__",
    "after",
    "bind",
    "current_scope",
    "deadline_at",
    "forever",
    "go",
    "install",
    "now",
    "once_value",
    "region",
    "remaining",
    "run",
    "select",
    "timeout",
    "uninstall",
]

_LATER = {
    **dict.fromkeys(("DEFAULT", "Channel", "Selected", "after", "select"), "channels"),
    **dict.fromkeys(
        ("Mutex", "Once", "RWMutex", "Semaphore", "SingleFlight", "WaitGroup", "once_value"), "sync"
    ),
    "region": "observe.recorder",
}


def __getattr__(name: str) -> Any:
    # Channels and the locks below them are half of all there is to import: they are loaded by
    # the first who names one, so that a service that uses none starts in half the time.
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    found = globals()[name] = getattr(import_module(f"backstay.{_LATER[name]}"), name)
    return found
