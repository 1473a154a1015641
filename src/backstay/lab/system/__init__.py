"""The system under test as real processes: started in order, watched, stopped, never left behind."""

from backstay.lab.system._child import Child
from backstay.lab.system._ports import allocate_ports
from backstay.lab.system._readiness import http_exchange, is_ready
from backstay.lab.system._supervisor import System, SystemFailed
from backstay.lab.system._wardship import Wardship

__all__ = [
    "Child",
    "System",
    "SystemFailed",
    "Wardship",
    "allocate_ports",
    "http_exchange",
    "is_ready",
]
