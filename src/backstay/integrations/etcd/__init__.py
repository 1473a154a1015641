"""etcd v3 on asyncio: calls that end in time, watches without gaps, leases, elections, live configuration.

Extra: ``pip install backstay[etcd]``. Tested with etcd 3.4.23 and grpcio 1.85. Versions 3.5.0 to 3.5.2
can lose acknowledged writes (etcd issue 13766): do not run them.

    async with EtcdClient(["10.0.0.1:2379", "10.0.0.2:2379", "10.0.0.3:2379"]) as etcd:
        async with LiveConfig(etcd, "config/orders", parse=read_limits) as limits: ...

What it adds: a failed write says whether it may have happened; a watch goes on with another member, after
the last event it has told; the loss of a lease is known here before it is known there; a leader's block
is cancelled when it leads no more. There is no other client below it: messages of our own package, sent by grpc.aio.
"""

from backstay.integrations.etcd._asker import EtcdStatistics
from backstay.integrations.etcd._channel import CHANNEL_OPTIONS
from backstay.integrations.etcd._client import EtcdClient
from backstay.integrations.etcd._election import Election, Leadership
from backstay.integrations.etcd._errors import (
    EtcdCompacted,
    EtcdError,
    EtcdRefused,
    EtcdUnavailable,
    EtcdUnsure,
    LeadershipLost,
    LeaseLost,
)
from backstay.integrations.etcd._lease import Lease
from backstay.integrations.etcd._live_config import ConfigStatistics, LiveConfig
from backstay.integrations.etcd._memory import MemoryEtcd, MemoryMember
from backstay.integrations.etcd._records import (
    Condition,
    Delete,
    Event,
    Get,
    KeyValue,
    Put,
    Snapshot,
    TxnResult,
    absent,
    created_at,
    modified_at,
    value_is,
)
from backstay.integrations.etcd._watch import Watch

__all__ = [
    "CHANNEL_OPTIONS",
    "Condition",
    "ConfigStatistics",
    "Delete",
    "Election",
    "EtcdClient",
    "EtcdCompacted",
    "EtcdError",
    "EtcdRefused",
    "EtcdStatistics",
    "EtcdUnavailable",
    "EtcdUnsure",
    "Event",
    "Get",
    "KeyValue",
    "Leadership",
    "LeadershipLost",
    "Lease",
    "LeaseLost",
    "LiveConfig",
    "MemoryEtcd",
    "MemoryMember",
    "Put",
    "Snapshot",
    "TxnResult",
    "Watch",
    "absent",
    "created_at",
    "modified_at",
    "value_is",
]
