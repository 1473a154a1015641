"""The two ends of a channel as types of their own.

A function that says `out: SendOnly[Order]` cannot receive by mistake, and a
type checker proves it; a `Channel` is both, so it is handed over as it is, as
in Go. `channel.send_only` and `channel.recv_only` are for handing an end to code
that is not checked: these objects do not have the other end's methods at all.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Coroutine
from typing import Any, Generic, Literal, TypeVar

from backstay.channels._home import HomedState
from backstay.errors import ChannelClosed

__all__ = ["RecvOnly", "RecvView", "SendOnly", "SendView"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)
T_contra = TypeVar("T_contra", contravariant=True)


class SendOnly(ABC, Generic[T_contra]):
    """The end of a channel that items go in: send, and close when there are no more."""

    __slots__ = ()

    @abstractmethod
    def send(self, item: T_contra) -> Coroutine[Any, Any, None]:
        """Send; see `Channel.send`."""

    @abstractmethod
    def send_nowait(self, item: T_contra) -> None:
        """Send without waiting; see `Channel.send_nowait`."""

    @abstractmethod
    def close(self) -> None:
        """Say that no more items come; see `Channel.close`."""

    @property
    @abstractmethod
    def _state(self) -> HomedState[Any]:
        """The state of the channel behind."""


class RecvOnly(ABC, Generic[T_co]):
    """The end of a channel that items come out of."""

    __slots__ = ()

    @abstractmethod
    def recv(self) -> Coroutine[Any, Any, T_co]:
        """Receive; see `Channel.recv`."""

    @abstractmethod
    def recv2(
        self,
    ) -> Coroutine[Any, Any, tuple[T_co, Literal[True]] | tuple[None, Literal[False]]]:
        """Receive, and tell whether the channel was still open; see `Channel.recv2`."""

    @abstractmethod
    def recv_many(self, most: int) -> Coroutine[Any, Any, list[T_co]]:
        """Receive what is there, at least one; see `Channel.recv_many`."""

    @abstractmethod
    def recv_nowait(self) -> T_co:
        """Receive without waiting; see `Channel.recv_nowait`."""

    def __aiter__(self) -> RecvOnly[T_co]:
        """Iterate until the channel is closed and drained."""
        return self

    async def __anext__(self) -> T_co:
        """Receive the next item, or end."""
        try:
            return await self.recv()
        except ChannelClosed:
            raise StopAsyncIteration from None

    @property
    @abstractmethod
    def _state(self) -> HomedState[Any]:
        """The state of the channel behind."""


class SendView(SendOnly[T]):
    """The sending end of one channel, without the other."""

    __slots__ = ("_behind",)

    def __init__(self, channel: SendOnly[T]) -> None:
        """Look at `channel`."""
        self._behind = channel

    def send(self, item: T) -> Coroutine[Any, Any, None]:
        """Send; see `Channel.send`."""
        return self._behind.send(item)

    def send_nowait(self, item: T) -> None:
        """Send without waiting; see `Channel.send_nowait`."""
        self._behind.send_nowait(item)

    def close(self) -> None:
        """Say that no more items come; see `Channel.close`."""
        self._behind.close()

    @property
    def _state(self) -> HomedState[Any]:
        return self._behind._state

    def __repr__(self) -> str:
        """Show the channel behind."""
        return f"<send end of {self._behind!r}>"


class RecvView(RecvOnly[T]):
    """The receiving end of one channel, without the other."""

    __slots__ = ("_behind",)

    def __init__(self, channel: RecvOnly[T]) -> None:
        """Look at `channel`."""
        self._behind = channel

    def recv(self) -> Coroutine[Any, Any, T]:
        """Receive; see `Channel.recv`."""
        return self._behind.recv()

    def recv2(self) -> Coroutine[Any, Any, tuple[T, Literal[True]] | tuple[None, Literal[False]]]:
        """Receive, and tell whether the channel was still open; see `Channel.recv2`."""
        return self._behind.recv2()

    def recv_many(self, most: int) -> Coroutine[Any, Any, list[T]]:
        """Receive what is there, at least one; see `Channel.recv_many`."""
        return self._behind.recv_many(most)

    def recv_nowait(self) -> T:
        """Receive without waiting; see `Channel.recv_nowait`."""
        return self._behind.recv_nowait()

    @property
    def _state(self) -> HomedState[Any]:
        return self._behind._state

    def __repr__(self) -> str:
        """Show the channel behind."""
        return f"<receive end of {self._behind!r}>"
