"""One HTTP request: its scope, and the two channels between application and server.

What the guard must know to end a request cleanly it learns in the channels: whether
the answer has begun, whether it is complete, whether the client is still there. Scope
and channels are one object, because every request pays for every object.
"""

from __future__ import annotations

from collections.abc import Awaitable, Mapping
from typing import Any

from backstay.context import REQUEST_ID, TRACE
from backstay.integrations.asgi._answers import Message, Receive, Send
from backstay.integrations.asgi._disconnect import DisconnectPump
from backstay.tasks import DeadlineWheel, ServedScope

__all__ = ["HttpRequest"]

_ID = b"x-request-id"


class HttpRequest(ServedScope):
    """One HTTP request and its answer.

    Invariant: `complete` implies `ending`, and that implies `started`; once `taken`, no message of the
    application reaches the server any more.

    Attributes:
        request_id: accepted from the caller, or made by us.
        echoes: whether the answer carries the request id also when it is a success.
        started: the head of the answer was handed to the server.
        ending: so was the last part of its body.
        complete: and the server has taken it.
        taken: the guard answers now, or has given up on this answer.
        disconnected: the client left before the answer was complete.
        cancels: whether a client that leaves cancels the request.
        expects_continue: the client waits to be asked for the body.
    """

    __slots__ = (
        "_pump",
        "_reading",
        "_receive",
        "_send",
        "_trailers",
        "cancels",
        "complete",
        "disconnected",
        "echoes",
        "ending",
        "expects_continue",
        "request_id",
        "started",
        "taken",
    )

    def __init__(
        self,
        name: str,
        wheel: DeadlineWheel,
        timeout: float | None,
        receive: Receive,
        send: Send,
        cancels: bool,
        request_id: str,
    ) -> None:
        """Stand between the server's channels and the application.

        Args:
            name: of the route.
            wheel: where the deadline is watched.
            timeout: seconds, or None.
            receive: the server's.
            send: the server's.
            cancels: whether a client that leaves cancels the request.
            request_id: goes out with the answer.
        """
        super().__init__(name, wheel, timeout=timeout)
        self._receive = receive
        self._send = send
        self._pump: DisconnectPump | None = None
        self._reading = 0  # calls of the application that wait in the server's receive
        self._trailers = False
        self.cancels = cancels
        self.request_id = request_id
        self.echoes = False
        self.expects_continue = False
        self.started = False
        self.ending = False
        self.complete = False
        self.taken = False
        self.disconnected = False

    def ambient_values(self) -> Mapping[Any, object]:
        """Return the values that the request's ambient context shows."""
        own: dict[Any, object] = {TRACE: self.trace_id, REQUEST_ID: self.request_id}
        outer = self._surroundings.values
        return {**outer, **own} if outer else own

    def let_go(self) -> None:
        """Drop the server's channels: an orphan holds us, and must not hold a connection."""
        self._receive = self._send = _over

    # -- towards the server ------------------------------------------------

    def send(self, message: Message) -> Awaitable[None]:
        """Pass a message on; the application's `send`.

        Raises:
            OSError: the request is over for the application, as ASGI has it for
                a client that left.
        """
        # A plain function: handing on the server's own awaitable saves a frame per message.
        if self.taken:
            raise OSError("this answer has been ended by the guard (deadline, or client gone)")
        kind = message["type"]
        if kind == "http.response.body":
            if not message.get("more_body", False) and not self._trailers:
                return self._send_last(message)
        elif kind == "http.response.start":
            self.started = True
            if "trailers" in message:
                self._trailers = bool(message["trailers"])
            # A server spends microseconds on each header. The id goes out where somebody will use
            # it: to a caller that takes part in tracing, and with an answer that will be asked about.
            if self.echoes or message["status"] >= 400:
                message = self._with_request_id(message)
        elif kind in {"http.response.pathsend", "http.response.zerocopysend"}:
            if not message.get("more_body", False) and not self._trailers:
                return self._send_last(message)
        elif kind == "http.response.trailers" and not message.get("more_trailers", False):
            return self._send_last(message)
        return self._send(message)

    def _with_request_id(self, message: Message) -> Message:
        headers = message.get("headers", ())
        if any(name == _ID for name, _ in headers):
            return message
        return {**message, "headers": [*headers, (_ID, self.request_id.encode())]}

    async def _send_last(self, message: Message) -> None:
        self.ending = True  # before: from now on the server reports a disconnect that is none
        await self._send(message)
        self.complete = True  # after: until then a client that does not read is on the clock
        if self._timer is not None:  # otherwise `attend` does it, if we last that long
            self.drop_deadline()

    # -- from the server ---------------------------------------------------

    def receive(self) -> Awaitable[Message]:
        """Wait for the next message; the application's `receive`.

        Cancelled: no message is lost.
        """
        if self._pump is not None:
            return self._pump.receive()
        return self._receive_directly()

    async def _receive_directly(self) -> Message:
        self._reading += 1
        self.expects_continue = False  # now the application has asked for the body
        try:
            message = await self._receive()
        finally:
            self._reading -= 1
        if message["type"] == "http.disconnect" and not self.ending:
            self.disconnected = True
        return message

    # -- watching for the client to leave ----------------------------------

    def attend(self) -> bool:
        """Watch the deadline, and for a disconnect unless the application does so itself.

        Returns:
            Whether that is settled; False asks to be called again later.
        """
        if self.taken or self._pump is not None or self.state != "open":
            return True
        if self.complete:
            self.drop_deadline()
            return True
        self.watch_deadline()
        if (
            self.ending or self.disconnected or not self.cancels
        ):  # it was told already, or wants no cancel
            return True
        if self._reading or self.expects_continue:
            return False
        pump = DisconnectPump(self._receive, self.on_disconnect)
        if not pump.start(self):
            return True
        self._pump = pump
        return True

    def on_disconnect(self, noticed: bool) -> None:
        """Hear that the client left; `noticed`: the application was told and decides itself."""
        if self.ending or self.taken:
            return
        self.disconnected = True
        if not noticed:
            self.cancel("client disconnected")

    @property
    def watched(self) -> bool:
        """Whether a pump reads in the application's place."""
        return self._pump is not None

    def stop_watching(self) -> None:
        """End the pump, so that the scope has nothing to wait for."""
        if self._pump is not None:
            self._pump.stop()


async def _over(*_: Any) -> Any:
    raise OSError("this request is over")
