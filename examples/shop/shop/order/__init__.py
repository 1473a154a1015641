"""The order service: the shop's HTTP edge and the owner of the saga."""
