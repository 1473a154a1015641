"""`python -m backstay` is the command `backstay`."""

from backstay.cli import entry

if __name__ == "__main__":
    entry()
