"""How a room of `observe` answers on the admin plane: a desk takes requests below its paths.

A reply that is there at once is a `Reply`; what takes time is an `Errand`, which runs in a
thread of its own while the plane serves others.
"""

from backstay.observe.desk._cover import cover_text
from backstay.observe.desk._desk import Desk
from backstay.observe.desk._errand import Errand, Wait
from backstay.observe.desk._reply import Reply, as_json, encode_json, refusal
from backstay.observe.desk._request import Request

__all__ = [
    "Desk",
    "Errand",
    "Reply",
    "Request",
    "Wait",
    "as_json",
    "cover_text",
    "encode_json",
    "refusal",
]
