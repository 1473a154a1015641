"""The admin plane: the private, read-only endpoint of a process, and a client for it.

A unix socket of mode 0600 in a directory of mode 0700 unless told otherwise,
served by a thread of its own so that it answers while the loop is blocked.
"""

from backstay.observe.admin._access import read_token
from backstay.observe.admin._guards_text import guards_to_text
from backstay.observe.admin._server import AdminServer, AdminStatistics
from backstay.observe.admin._statistics import ProcessStatistics, backstay_version
from backstay.observe.target import (
    AdminClient,
    default_directory,
    default_socket,
    find_socket,
)

__all__ = [
    "AdminClient",
    "AdminServer",
    "AdminStatistics",
    "ProcessStatistics",
    "backstay_version",
    "default_directory",
    "default_socket",
    "find_socket",
    "guards_to_text",
    "read_token",
]
