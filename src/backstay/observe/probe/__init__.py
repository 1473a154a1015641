"""Non-breaking breakpoints: what a running process does at a line, recorded while it goes on."""

from backstay.observe.probe._board import Board
from backstay.observe.probe._desk import ProbeDesk
from backstay.observe.probe._probe import Hit, Probe
from backstay.observe.probe._text import ending_to_text, hit_to_text

__all__ = ["Board", "Hit", "Probe", "ProbeDesk", "ending_to_text", "hit_to_text"]
