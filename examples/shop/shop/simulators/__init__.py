"""The outsiders: a bank, a warehouse and a notification gateway, scripted over HTTP.

They stand for systems that are not ours, so they can do what such systems do: be slow, fail,
refuse, hang, or act and lose the reply. Each keeps a ledger of what *really* happened, which is
the oracle that the shop's own books are compared with after a run.

`python -m shop.simulators bank|wms|gateway --port N --seed S`. All of them answer
GET /readyz, GET and POST /control (the script), GET /ledger (`?summary=1` for counts only).
"""

from __future__ import annotations

from shop.simulators._bank import Bank
from shop.simulators._gateway import Gateway
from shop.simulators._http import Exchange, HttpServer
from shop.simulators._script import Script, ScriptError
from shop.simulators._simulator import Simulator
from shop.simulators._trade import Reply, Trade
from shop.simulators._warehouse import Warehouse

__all__ = [
    "Bank",
    "Exchange",
    "Gateway",
    "HttpServer",
    "Reply",
    "Script",
    "ScriptError",
    "Simulator",
    "Trade",
    "Warehouse",
]
