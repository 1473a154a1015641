"""Synchronisation between tasks; nobody is forgotten, and a cancel loses nothing."""
