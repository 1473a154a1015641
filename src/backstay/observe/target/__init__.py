"""How the admin plane of a process is found and asked: what TARGET means, for every verb.

`backstay.observe.admin` is the answering end.
"""

from backstay.observe.target._client import AdminClient
from backstay.observe.target._location import (
    default_directory,
    default_socket,
    find_socket,
    known_sockets,
    private_directory,
)
from backstay.observe.target._sockets import (
    connectable,
    is_dead_socket,
    peer_of,
    remove_dead_sockets,
)

__all__ = [
    "AdminClient",
    "connectable",
    "default_directory",
    "default_socket",
    "find_socket",
    "is_dead_socket",
    "known_sockets",
    "peer_of",
    "private_directory",
    "remove_dead_sockets",
]
