"""A candidate in a process of its own: it leads when it is its turn, and writes what only a leader may."""

from __future__ import annotations

import asyncio
import sys

import backstay
from backstay.integrations.etcd import (
    Election,
    EtcdClient,
    EtcdUnavailable,
    EtcdUnsure,
    LeadershipLost,
    Put,
)


async def main(name: str, ttl: float, endpoints: list[str]) -> None:
    """Stand for ever; each line that is printed is an event for the test."""
    async with EtcdClient(endpoints) as etcd:
        election = Election(etcd, "elections/sweeper", value=name, ttl=ttl)
        print("stands", flush=True)
        while True:
            try:
                async with election.lead() as leadership:
                    print("leads", leadership.token, flush=True)
                    while True:
                        try:
                            written = await etcd.txn(
                                [leadership.holds()],
                                [Put("swept", f"{name} {leadership.token}".encode())],
                            )
                        except (EtcdUnavailable, EtcdUnsure):
                            continue
                        if not written.succeeded:
                            print("refused", leadership.token, flush=True)
                        await asyncio.sleep(0.05)
            except LeadershipLost:
                print("lost", flush=True)


backstay.run(main, sys.argv[1], float(sys.argv[2]), sys.argv[3:])
