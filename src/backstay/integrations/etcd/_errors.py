"""What can go wrong with etcd, by what is known of the effect.

::

    BackstayError
    └── EtcdError
        ├── EtcdUnavailable   no member answered in time; nothing was written
        ├── EtcdUnsure        a write was sent, and no answer came: it may have happened, or may yet
        ├── EtcdRefused       the cluster said no
        │   └── EtcdCompacted the revisions that were asked for are gone
        ├── LeaseLost         the lease has ended, and what hung on it is gone
        └── LeadershipLost    somebody else may lead by now
"""

from __future__ import annotations

from backstay.errors import BackstayError

__all__ = [
    "EtcdCompacted",
    "EtcdError",
    "EtcdRefused",
    "EtcdUnavailable",
    "EtcdUnsure",
    "LeadershipLost",
    "LeaseLost",
]


class EtcdError(BackstayError):
    """The root of what this client raises."""


class EtcdUnavailable(EtcdError):
    """No member answered in time. Nothing was written: the call may be made again."""


class EtcdUnsure(EtcdError):
    """A write was sent, and no answer came. It may have happened, or may happen yet.

    Read what is there before you write again, or make the write a `txn` that compares.
    """


class EtcdRefused(EtcdError):
    """The cluster said no, and any member would: asking again changes nothing.

    Attributes:
        code: its word for it, as gRPC has them: "NOT_FOUND", "INVALID_ARGUMENT", …
    """

    def __init__(self, message: str, *, code: str) -> None:
        """Keep the code beside the sentence for people."""
        super().__init__(message)
        self.code = code

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, with the code."""
        return _rebuild_refused, (type(self), str(self), self.code)


class EtcdCompacted(EtcdRefused):
    """The revisions that were asked for have been compacted: read what is there now, and go on from there.

    Attributes:
        compact_revision: the oldest that is left; 0 when the cluster did not tell.
    """

    def __init__(
        self, message: str, *, code: str = "OUT_OF_RANGE", compact_revision: int = 0
    ) -> None:
        """Keep the revision beside the sentence for people."""
        super().__init__(message, code=code)
        self.compact_revision = compact_revision

    def __reduce__(self) -> tuple[object, ...]:
        """Survive pickling, with the revision."""
        return _rebuild_compacted, (str(self), self.code, self.compact_revision)


class LeaseLost(EtcdError):
    """The lease has ended, or may have by now: what hung on it is gone."""


class LeadershipLost(EtcdError):
    """This candidate leads no more; another one may."""


def _rebuild_refused(kind: type[EtcdRefused], message: str, code: str) -> EtcdRefused:
    return kind(message, code=code)


def _rebuild_compacted(message: str, code: str, compact_revision: int) -> EtcdCompacted:
    return EtcdCompacted(message, code=code, compact_revision=compact_revision)
