"""Backstay: every task has an owner, a deadline and an exit."""
