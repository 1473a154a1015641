"""The pages of the admin plane: what a person sees at ``/ui/``, and the documents behind them.

`make_desks` gives the plane what answers; `Gate` lets a browser reach a plane that listens on a
unix socket, which no browser can open.
"""

from backstay.observe.ui._assets import COOKIE, PREFIX, Assets
from backstay.observe.ui._desk import UiDesk, make_desks
from backstay.observe.ui._gate import Gate

__all__ = ["COOKIE", "PREFIX", "Assets", "Gate", "UiDesk", "make_desks"]
