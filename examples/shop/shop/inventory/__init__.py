"""The inventory service: what lies on the shelves and what is held for whom."""
