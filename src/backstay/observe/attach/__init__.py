"""Looks into processes that were not prepared for it, and loads Backstay into them while they run."""

from backstay.observe.attach._attach import load_into, look_at
from backstay.observe.attach._late import open_plane
from backstay.observe.attach._text import look_to_text
from backstay.observe.attach._ways import attach, look

__all__ = ["attach", "load_into", "look", "look_at", "look_to_text", "open_plane"]
