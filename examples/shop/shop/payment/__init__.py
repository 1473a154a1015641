"""The payment adapter: the only one who talks to the bank."""
