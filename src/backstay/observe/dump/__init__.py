"""Dumps: all tasks of a process, where they came from and what they wait for.

`snapshot` takes the look, `document` makes JSON of one, `to_text` makes it
readable. Taken from any thread, also while the loop is blocked; a dump keeps
nothing of the application alive.
"""

from backstay.observe.dump._document import document, to_json
from backstay.observe.dump._groups import Group, Member
from backstay.observe.dump._snapshot import Dump, Sight, sights, snapshot
from backstay.observe.dump._text import to_text

__all__ = [
    "Dump",
    "Group",
    "Member",
    "Sight",
    "document",
    "sights",
    "snapshot",
    "to_json",
    "to_text",
]
