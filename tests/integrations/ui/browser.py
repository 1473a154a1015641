"""A real Chromium, driven over its DevTools protocol.

Own code and no driver package: what the tests need of the protocol are a dozen calls over one
websocket, for which the tests' `websockets` is enough; the usual driver would bring 50 MB and a
second runtime to every development set-up.
"""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

_KEYS = {
    "Enter": ("Enter", 13, "\r"),
    "Escape": ("Escape", 27, ""),
    "Tab": ("Tab", 9, ""),
    "Backspace": ("Backspace", 8, ""),
    "ArrowDown": ("ArrowDown", 40, ""),
    "ArrowUp": ("ArrowUp", 38, ""),
    "End": ("End", 35, ""),
    "Home": ("Home", 36, ""),
}


class Browser:
    """One Chromium without a window; pages are opened in contexts of their own, as private windows."""

    def __init__(self, program: str, environment: dict[str, str], home: Path) -> None:
        """Start it with an empty profile below `home`, and without any network of its own."""
        self.home = home
        with (home / "chromium.log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    program,
                    "--headless=new",
                    "--no-sandbox",
                    "--disable-gpu",
                    "--disable-dev-shm-usage",
                    "--disable-background-networking",
                    "--disable-component-update",
                    "--disable-default-apps",
                    "--disable-extensions",
                    "--disable-sync",
                    "--hide-scrollbars",
                    "--no-first-run",
                    "--no-default-browser-check",
                    "--remote-debugging-port=0",
                    f"--user-data-dir={home / 'profile'}",
                    "--window-size=1280,800",
                    "about:blank",
                ],
                env={**environment, "HOME": str(home)},
                stdout=subprocess.DEVNULL,
                stderr=log,
                start_new_session=True,
            )
        self._numbers = itertools.count(1)
        self._answers: dict[int, dict[str, Any]] = {}
        self._told = threading.Condition()
        self._pages: dict[str, Page] = {}
        port, path = self._address()
        self._stack = ExitStack()
        self._socket = self._stack.enter_context(
            connect(f"ws://127.0.0.1:{port}{path}", max_size=None, open_timeout=20)
        )
        threading.Thread(target=self._read, daemon=True).start()

    def _address(self) -> tuple[str, str]:
        file = self.home / "profile" / "DevToolsActivePort"
        until = time.monotonic() + 40
        while time.monotonic() < until:
            if file.exists() and len(lines := file.read_text().split()) == 2:
                return lines[0], lines[1]
            if self._process.poll() is not None:
                break
            time.sleep(0.05)
        said = (self.home / "chromium.log").read_text(errors="replace")[-2000:]
        raise RuntimeError(f"Chromium did not start: {said}")

    def _read(self) -> None:
        try:
            for message in self._socket:
                told = json.loads(message)
                with self._told:
                    if "id" in told:
                        self._answers[told["id"]] = told
                    elif told.get("sessionId") in self._pages:
                        self._pages[told["sessionId"]].note(told["method"], told["params"])
                    self._told.notify_all()
        except ConnectionClosed:
            with self._told:
                self._told.notify_all()

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result."""
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": params}
        if session is not None:
            asked["sessionId"] = session
        self._socket.send(json.dumps(asked))
        with self._told:
            if not self._told.wait_for(lambda: number in self._answers, 40):
                raise TimeoutError(f"Chromium did not answer {method}")
            told = self._answers.pop(number)
        if "error" in told:
            raise RuntimeError(f"{method}: {told['error']}")
        return told["result"]

    def page(self, *, width: int = 1280, height: int = 800, dark: bool = False) -> Page:
        """Open a page in a context of its own."""
        context = self.call("Target.createBrowserContext")["browserContextId"]
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        session = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = Page(self, session["sessionId"], context)
        self._pages[page.session] = page
        for domain in ("Page", "Runtime", "Network", "Log"):
            page.call(f"{domain}.enable")
        page.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )
        page.scheme(dark)
        return page

    def close(self) -> None:
        """End it."""
        try:
            self._socket.send(json.dumps({"id": 0, "method": "Browser.close"}))
            self._process.wait(5)
        except Exception:
            self._process.kill()
            self._process.wait(10)
        self._stack.close()
        shutil.rmtree(self.home / "profile", ignore_errors=True)


class Page:
    """One page, with what it has asked for and complained about."""

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        """See `Browser.page`."""
        self.browser = browser
        self.session = session
        self.context = context
        self.requests: list[str] = []
        self.complaints: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command to this page."""
        return self.browser.call(method, self.session, **params)

    def note(self, method: str, params: dict[str, Any]) -> None:
        """Keep what a test asks for later; called by the reading thread."""
        if method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])
        elif method == "Runtime.exceptionThrown":
            self.complaints.append(json.dumps(params["exceptionDetails"])[:500])
        elif method == "Runtime.consoleAPICalled" and params["type"] in ("error", "assert"):
            self.complaints.append(json.dumps(params["args"])[:500])
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.complaints.append(json.dumps(params["entry"])[:500])

    def goto(self, url: str) -> None:
        """Open an address, and wait until it is loaded."""
        self.call("Page.navigate", url=url)
        self.until("document.readyState === 'complete' && location.href !== 'about:blank'")

    def js(self, expression: str) -> Any:
        """Return the value of an expression; promises are awaited."""
        told = self.call(
            "Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in told:
            raise AssertionError(f"{expression}: {json.dumps(told['exceptionDetails'])[:600]}")
        return told["result"].get("value")

    def until(self, expression: str, seconds: float = 20.0) -> Any:
        """Wait until an expression is true, and return its value."""
        until = time.monotonic() + seconds
        while True:
            try:
                value = self.js(expression)
            except (AssertionError, RuntimeError):  # between two documents
                value = None
            if value:
                return value
            if time.monotonic() > until:
                shown = self.js("document.body.innerText.slice(0, 1500)")
                raise AssertionError(f"never true: {expression}\nshown:\n{shown}")
            time.sleep(0.03)

    def sees(self, text: str, seconds: float = 20.0) -> None:
        """Wait until a text is on the page."""
        self.until(f"document.body.innerText.includes({json.dumps(text)})", seconds)

    def text(self, selector: str = "body") -> str:
        """Return the text of an element."""
        return str(self.js(f"document.querySelector({json.dumps(selector)})?.innerText ?? ''"))

    def click(self, selector: str) -> None:
        """Press the mouse in the middle of an element."""
        place = self.until(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)}); if (!e) return null;"
            " e.scrollIntoView({block: 'nearest'}); const r = e.getBoundingClientRect();"
            " return {x: r.x + r.width / 2, y: r.y + r.height / 2}; })()"
        )
        self.press_at(place["x"], place["y"])

    def press_at(self, x: float, y: float) -> None:
        """Press the mouse somewhere."""
        self.move(x, y)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def move(self, x: float, y: float) -> None:
        """Move the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def key(self, *keys: str) -> None:
        """Press keys, one after the other."""
        for key in keys:
            code, number, text = _KEYS.get(key, (f"Key{key.upper()}", ord(key[0].upper()), key))
            common = {"key": key, "code": code, "windowsVirtualKeyCode": number}
            self.call("Input.dispatchKeyEvent", type="keyDown", text=text, **common)
            self.call("Input.dispatchKeyEvent", type="keyUp", **common)

    def type(self, text: str) -> None:
        """Type a text into what has the focus."""
        self.call("Input.insertText", text=text)

    def scheme(self, dark: bool) -> None:
        """Let the system prefer dark or light."""
        preferred = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[preferred])

    def screenshot(self, path: str | os.PathLike[str]) -> None:
        """Write what is seen as a PNG."""
        found = self.call("Page.captureScreenshot", format="png")
        Path(path).write_bytes(base64.b64decode(found["data"]))

    def close(self) -> None:
        """Close it, with its cookies."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
