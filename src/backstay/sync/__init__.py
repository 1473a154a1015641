"""Synchronisation between tasks; nobody is forgotten, and a cancel loses nothing.

Ready to use as they are, also as globals::

    cache_lock = Mutex("cache")

    async with cache_lock:
        ...

All wait in order of arrival, all say who holds what since when, all belong to
one event loop at a time; `AtomicCounter` alone is for several threads.
"""

from backstay.sync._atomic_counter import AtomicCounter
from backstay.sync._barrier import Barrier, BarrierStatistics
from backstay.sync._condition import Cond, CondStatistics
from backstay.sync._durations import Spread
from backstay.sync._event import Event, EventStatistics
from backstay.sync._holder import Holder
from backstay.sync._mutex import Mutex, MutexStatistics
from backstay.sync._once import Once, OnceStatistics, OnceValue, once_value
from backstay.sync._rwmutex import ReadLock, RWMutex, RWMutexStatistics, WriteLock
from backstay.sync._semaphore import Places, Semaphore, SemaphoreStatistics
from backstay.sync._single_flight import Shared, SingleFlight, SingleFlightStatistics
from backstay.sync._wait_group import WaitGroup, WaitGroupStatistics

__all__ = [
    "AtomicCounter",
    "Barrier",
    "BarrierStatistics",
    "Cond",
    "CondStatistics",
    "Event",
    "EventStatistics",
    "Holder",
    "Mutex",
    "MutexStatistics",
    "Once",
    "OnceStatistics",
    "OnceValue",
    "Places",
    "RWMutex",
    "RWMutexStatistics",
    "ReadLock",
    "Semaphore",
    "SemaphoreStatistics",
    "Shared",
    "SingleFlight",
    "SingleFlightStatistics",
    "Spread",
    "WaitGroup",
    "WaitGroupStatistics",
    "WriteLock",
    "once_value",
]
