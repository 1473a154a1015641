"""A process in a terminal, live: its tasks by the line that started them, its loops, guards and verdicts.

`backstay top` is made of this. Everything but `Terminal` is arithmetic on documents of the admin plane.
"""

from backstay.observe.top._cells import Line, Span, flat, plain
from backstay.observe.top._figures import Figures, Group, GuardRow, LeakRow, LoopRow, compare
from backstay.observe.top._keys import Keys
from backstay.observe.top._live import Screen, live
from backstay.observe.top._looks import Asker, Look, Looker
from backstay.observe.top._page import Scene, draw, sheet
from backstay.observe.top._table import ORDERS
from backstay.observe.top._view import View

__all__ = [
    "ORDERS",
    "Asker",
    "Figures",
    "Group",
    "GuardRow",
    "Keys",
    "LeakRow",
    "Line",
    "Look",
    "Looker",
    "LoopRow",
    "Scene",
    "Screen",
    "Span",
    "View",
    "compare",
    "draw",
    "flat",
    "live",
    "plain",
    "sheet",
]
