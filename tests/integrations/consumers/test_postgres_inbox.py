"""The inbox for PostgreSQL that the guide shows does on a real server what it says."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from backstay.lifecycle import once

pytestmark = [pytest.mark.real_loop, pytest.mark.slow]

GUIDE = Path(__file__).parents[3] / "docs/how-to/consume-without-losing-messages.md"


def from_the_guide() -> dict[str, Any]:
    blocks = re.findall(r"```python\n(.*?)```", GUIDE.read_text(encoding="utf-8"), re.DOTALL)
    (code,) = [block for block in blocks if "class PostgresInbox" in block]
    names: dict[str, Any] = {}
    exec(code, names)
    return names


async def test_it_notes_in_the_transaction_of_the_effect(postgres: Any) -> None:
    """Ten at once have one effect; one that failed before had none, and does not count."""
    names = from_the_guide()
    async with asyncpg.create_pool(postgres.url, max_size=10) as pool:
        await pool.execute(names["MAKE"])
        await pool.execute("CREATE TABLE effect (id text)")
        inbox = names["PostgresInbox"](pool)

        async def effect(connection: Any) -> None:
            await connection.execute("INSERT INTO effect VALUES ('m')")
            await asyncio.sleep(0.05)

        async def fails(connection: Any) -> None:
            await effect(connection)
            raise OSError

        with pytest.raises(OSError):
            await once(inbox, "m", fails)
        cut = asyncio.get_running_loop().create_task(once(inbox, "m", effect))
        await asyncio.sleep(0.02)
        cut.cancel()
        await asyncio.gather(cut, return_exceptions=True)
        assert await pool.fetchval("SELECT count(*) FROM effect") == 0
        answers = await asyncio.gather(*(once(inbox, "m", effect) for _ in range(10)))
        assert sum(answers) == 1
        assert await pool.fetchval("SELECT count(*) FROM effect") == 1
