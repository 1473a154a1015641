"""What the shop decides, without any input or output.

Both variants, the ledger check and the tests use these same functions, so that a difference
between the variants can only come from how they run, never from what they decide.
"""
