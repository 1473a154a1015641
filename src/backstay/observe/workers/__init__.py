"""The workers of one service on one host: found by their admin sockets, read as one page."""

from backstay.observe.workers._gather import gather, scrape_workers
from backstay.observe.workers._siblings import siblings

__all__ = ["gather", "scrape_workers", "siblings"]
