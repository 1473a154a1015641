"""Where a service finds its peers: read once, from the environment, when it starts."""

from __future__ import annotations

import os
import resource
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

OPEN_FILES = 20_000
"""Descriptors a service asks for: the customary 1,024 would end the naive shop in an error about
files long before it shows what its tasks do."""


class SettingMissing(RuntimeError):
    """A service was started without an address it needs."""


@dataclass(frozen=True, slots=True)
class Settings:
    """The surroundings of one service process."""

    data: Path  # directory of its SQLite file
    listen: str  # host:port of its gRPC server
    bus: str  # host:port
    inventory: str  # host:port
    payment: str  # host:port
    bank: str  # http://host:port
    wms: str  # http://host:port
    gateway: str  # http://host:port
    stock: int  # pieces of each article when the shop opens for the first time
    bank_places: int  # charges in flight at the bank at a time, governed variant

    @classmethod
    def read(cls, environment: Mapping[str, str], *needed: str) -> Settings:
        """Take the settings from the environment.

        Args:
            environment: usually `os.environ`; every variable starts with `SHOP_`.
            needed: the fields this service cannot do without.

        Returns:
            The settings; what is not needed and not set is empty.

        Raises:
            SettingMissing: a needed variable is not set.
        """
        for name in needed:
            if not environment.get(f"SHOP_{name.upper()}"):
                raise SettingMissing(
                    f"SHOP_{name.upper()} is not set: expected the address of {name}"
                )
        return cls(
            data=Path(environment.get("SHOP_DATA", ".")),
            listen=environment.get("SHOP_LISTEN", ""),
            bus=environment.get("SHOP_BUS", ""),
            inventory=environment.get("SHOP_INVENTORY", ""),
            payment=environment.get("SHOP_PAYMENT", ""),
            bank=environment.get("SHOP_BANK", ""),
            wms=environment.get("SHOP_WMS", ""),
            gateway=environment.get("SHOP_GATEWAY", ""),
            stock=int(environment.get("SHOP_STOCK", "1000000")),
            bank_places=int(environment.get("SHOP_BANK_PLACES", "12")),
        )


def settle_in(*needed: str) -> Settings:
    """Read the settings of this process and prepare it: data directory, descriptor limit.

    Args:
        needed: the fields this service cannot do without.

    Returns:
        The settings.

    Raises:
        SettingMissing: a needed variable is not set.
    """
    settings = Settings.read(os.environ, *needed)
    settings.data.mkdir(parents=True, exist_ok=True)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    return settings
