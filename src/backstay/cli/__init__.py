"""The command line: one file per verb.

A verb's module is imported only when it is asked for, so that `backstay ps` does
not pay for the lab. Exit codes: 0 = fine, 1 = findings or a failed verdict, 2 = a
slip in the command, or a target that cannot be reached.
"""

from backstay.cli._main import entry, main

__all__ = ["entry", "main"]
