"""The two channels between the application and the server, for one request.

What the guard must know to end a request cleanly it learns here: whether the
answer has begun, whether it is complete, whether the client is still there. Both
wrappers are as thin as they can be, since every message of every request passes.
"""

from __future__ import annotations

from collections.abc import Awaitable

from backstay.integrations.asgi._answers import Message, Receive, Send
from backstay.integrations.asgi._disconnect import DisconnectPump
from backstay.tasks import ServedScope

__all__ = ["Exchange"]

_ID = b"x-request-id"


class Exchange:
    """One HTTP request and its answer.

    Invariant: `complete` implies `started`; once `taken`, no message of the
    application reaches the server any more.

    Attributes:
        started: the head of the answer was handed to the server.
        complete: so was the last part of its body.
        taken: the guard answers now, or has given up on this answer.
        disconnected: the client left before the answer was complete.
    """

    # No __slots__: what most requests never change costs nothing as a class attribute.
    started = False
    complete = False
    taken = False
    disconnected = False
    _pump: DisconnectPump | None = None
    _reading = 0  # calls of the application that wait in the server's receive
    _trailers = False

    def __init__(
        self,
        scope: ServedScope,
        receive: Receive,
        send: Send,
        request_id: str,
        cancels: bool,
        expects_continue: bool,
    ) -> None:
        """Stand between the server's channels and the application.

        Args:
            scope: the request's own.
            receive: the server's.
            send: the server's.
            request_id: goes out with the answer.
            cancels: whether a client that leaves cancels the request.
            expects_continue: the client waits to be asked for the body.
        """
        self._scope = scope
        self._receive = receive
        self._send = send
        self._request_id = request_id
        self._cancels = cancels
        self._expects_continue = expects_continue

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
            self._trailers = bool(message.get("trailers", False))
            headers = message.get("headers", ())
            for name, _ in headers:
                if name == _ID:
                    break
            else:
                message = {
                    **message,
                    "headers": [*headers, (_ID, self._request_id.encode())],
                }
        elif kind in {"http.response.pathsend", "http.response.zerocopysend"}:
            if not message.get("more_body", False) and not self._trailers:
                return self._send_last(message)
        elif kind == "http.response.trailers" and not message.get("more_trailers", False):
            return self._send_last(message)
        return self._send(message)

    async def _send_last(self, message: Message) -> None:
        # Set before the server knows: from then on it reports a disconnect that is none.
        self.complete = True
        try:
            await self._send(message)
        except BaseException:
            self.complete = False
            raise
        self._scope.drop_deadline()

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
        self._expects_continue = False  # now the application has asked for the body
        try:
            message = await self._receive()
        finally:
            self._reading -= 1
        if message["type"] == "http.disconnect" and not self.complete:
            self.disconnected = True
        return message

    # -- watching for the client to leave ----------------------------------

    def attend(self) -> bool:
        """Watch the deadline, and for a disconnect unless the application does so itself.

        Returns:
            Whether that is settled; False asks to be called again later.
        """
        if self.complete or self.taken or self._pump is not None or self._scope.state != "open":
            return True
        self._scope.watch_deadline()
        if self.disconnected or not self._cancels:  # it was told already, or wants no cancel
            return True
        if self._reading or self._expects_continue:
            return False
        pump = DisconnectPump(self._receive, self.on_disconnect)
        if not pump.start(self._scope):
            return True
        self._pump = pump
        return True

    def on_disconnect(self, noticed: bool) -> None:
        """Hear that the client left; `noticed`: the application was told and decides itself."""
        if self.complete or self.taken:
            return
        self.disconnected = True
        if not noticed:
            self._scope.cancel("client disconnected")

    @property
    def watched(self) -> bool:
        """Whether a pump reads in the application's place."""
        return self._pump is not None

    def stop_watching(self) -> None:
        """End the pump, so that the scope has nothing to wait for."""
        if self._pump is not None:
            self._pump.stop()
