"""Every metric is documented, and every documented one is there."""

from __future__ import annotations

import re
from pathlib import Path

from backstay.observe.metrics import _life_figures as lives
from backstay.observe.metrics._guard_figures import _ROWS

ROOT = Path(__file__).parents[2]
_END = re.compile(r"_(total|info)$")


def of_the_code() -> set[str]:
    """Return the names that the code can put on a page, without the ends of counters and infos."""
    found: set[str] = set()
    for folder in ("metrics", "workers"):
        for path in (ROOT / "src/backstay/observe" / folder).glob("*.py"):
            found |= set(re.findall(r'"(backstay_[a-z_]+)"', path.read_text(encoding="utf-8")))
    found |= {f"backstay_{row.name}" for rows in _ROWS.values() for row in rows}
    found |= {f"backstay_{what}_state" for what in ("service", "consumer", "schedule")}
    found |= {f"backstay_consumer_{field}" for field in lives._CONSUMER}
    found |= {
        f"backstay_multiloop_{field}" for field in (*lives._MULTILOOP_NOW, *lives._MULTILOOP_EVER)
    }
    sizes = ("length", "capacity", "receivers", "senders", "closed")
    return found | {f"backstay_channel_{field}" for field in sizes}


def test_the_page_names_every_metric_and_no_other() -> None:
    """Whoever meets a name on a dashboard finds what it means, and what to do when it rises."""
    page = (ROOT / "docs/reference/metrics.md").read_text(encoding="utf-8")
    told = {_END.sub("", name) for name in re.findall(r"`(backstay_[a-z0-9_]+)`", page)}
    told = {name for name in told if not name.startswith("backstay_asgi_")}
    assert told == of_the_code()
