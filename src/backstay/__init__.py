"""Backstay: every task has an owner, a deadline and an exit.

The day-one words live here; each room has more: `backstay.context`,
`backstay.tasks`, `backstay.leak`, `backstay.testing`, `backstay.integrations`.
Importing does nothing: no thread, no patch, no look at the environment.
"""

from backstay._base import now
from backstay.channels import DEFAULT, Channel, Selected, after, select
from backstay.context import Key, bind, remaining
from backstay.tasks import (
    Scope,
    current_scope,
    deadline_at,
    go,
    install,
    run,
    timeout,
    uninstall,
)

__version__ = "0.1.0.dev0"

__all__ = [
    "DEFAULT",
    "Channel",
    "Key",
    "Scope",
    "Selected",
    "__version__",
    "after",
    "bind",
    "current_scope",
    "deadline_at",
    "go",
    "install",
    "now",
    "remaining",
    "run",
    "select",
    "timeout",
    "uninstall",
]
