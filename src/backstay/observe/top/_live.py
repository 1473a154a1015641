"""The live view: a thread asks the process, the terminal's own shows what came and takes keys."""

from __future__ import annotations

import threading
from typing import Final, Protocol

from backstay._base import now
from backstay.errors import UsageError
from backstay.observe.top._cells import Line
from backstay.observe.top._looks import Look, Looker
from backstay.observe.top._page import Scene, draw
from backstay.observe.top._view import View

__all__ = ["Screen", "live"]

#: Seconds after which the screen is drawn anew although nothing came: clocks in it go on.
_DRAWN_EVERY_S: Final = 0.5


class Screen(Protocol):
    """What `live` needs of a terminal."""

    @property
    def ended_by(self) -> int:
        """Number of the signal that ends the process; 0 for none."""
        ...

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        ...

    def wait(self, seconds: float) -> list[str]:
        """Wait for keys."""
        ...

    def wake(self) -> None:
        """Make `wait` return."""
        ...

    def show(self, lines: list[Line]) -> None:
        """Show lines."""
        ...


class _Asking(threading.Thread):
    """Looks whenever it is time; keeps the last look, or why there is none."""

    def __init__(self, looker: Looker, screen: Screen, view: View) -> None:
        super().__init__(name="backstay-top", daemon=True)
        self._looker, self._screen, self._view = looker, screen, view
        self._nudged = threading.Event()
        self._over = False
        self._asked_at: float | None = None
        self.scene = Scene()

    def run(self) -> None:
        while not self._over:
            began = now()
            if not self._view.paused or self._view.detail_of != self._shown_detail():
                self._ask()
            # Not from the end of the look: the rates of a slow process would be of longer times still.
            pause = max(0.05, self._view.interval - (now() - began))
            self._nudged.wait(pause)
            self._nudged.clear()

    def _ask(self) -> None:
        self._asked_at = now()
        try:
            look = self._looker.look(self._view.detail_of)
        except UsageError as error:
            self.scene = Scene(self.scene.look, " ".join(str(error).split()))
        else:
            self.scene = Scene(look)
        self._asked_at = None
        self._screen.wake()

    def _shown_detail(self) -> str:
        return self.scene.look.site if self.scene.look is not None else ""

    def nudge(self) -> None:
        """Look now, and not when it is time."""
        self._nudged.set()

    def end(self) -> None:
        """Look no more."""
        self._over = True
        self._nudged.set()

    def present(self) -> Scene:
        """Return what is known, with how long the question under way has waited."""
        asked_at, scene = self._asked_at, self.scene
        waited = 0.0 if asked_at is None else now() - asked_at
        return Scene(scene.look, scene.trouble, waited)


def live(looker: Looker, screen: Screen, view: View, first: Look) -> str:
    """Show the process until the person has seen enough.

    Args:
        looker: asks the process.
        screen: shows lines and reads keys.
        view: what to begin with.
        first: a look that was taken before.

    Returns:
        Why there are no more figures; "" when all was well to the end.
    """
    asking = _Asking(looker, screen, view)
    asking.scene = Scene(first)
    asking.start()
    try:
        while not view.quits and not screen.ended_by:
            scene = asking.present()
            screen.show(draw(scene, view, *screen.size))
            groups = () if scene.look is None else scene.look.figures.groups
            was = view.detail_of, view.interval, view.paused
            for key in screen.wait(_DRAWN_EVERY_S):
                view.press(key, groups)
            if was != (view.detail_of, view.interval, view.paused):
                asking.nudge()
    except KeyboardInterrupt:
        pass
    finally:
        asking.end()
    return asking.scene.trouble
