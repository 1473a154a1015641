"""`python -m backstay` is the command `backstay`."""

import sys

if __name__ == "__main__":
    try:
        from backstay.cli import entry
    except KeyboardInterrupt:  # a Ctrl-C before there is anybody to handle it
        sys.exit(130)
    entry()
