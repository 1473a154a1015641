"""What must not be shown: the one place that knows which names stand for secrets.

By name, since a value does not tell. The list is that of the log scrubbers of Sentry, Django and Rails, as far
as the three agree, with spellings in snake, camel and kebab case.
"""

from __future__ import annotations

import re
from typing import Final

__all__ = ["HIDDEN", "cover_secrets", "names_a_secret", "without_secrets"]

#: Shown in place of a value.
HIDDEN: Final = "<hidden>"

_LONGEST: Final = 200  # characters of an error that are shown
_NAME: Final = re.compile(
    r"(?i)passw(or)?d|passphrase|(^|[^a-z])(pwd|pin|cvv|cvc|ssn)([^a-z]|$)|secret|token|api[_-]?key|apikey|credential"
    r"|authori[sz]ation|(^|[^a-z])auth([^a-z]|$)|cookie|session[_-]?(id|key)|private[_-]?key|signature|card[_-]?number"
)
_SECRETS: Final = (
    (re.compile(r"(?<=://)[^/\s]+(?=@)"), "***"),  # user and password of an address
    (re.compile(r"(?i)\b(bearer|basic)\s+[\w.~+/=-]+"), r"\1 ***"),
    (
        re.compile(
            r"""(?ix)\b([\w-]*(?:passw(?:or)?d|pwd|secret|token|api[_-]?key|credential)s?)
            (["']?\s*[=:]\s*)(?:"[^"]*"|'[^']*'|[^\s,;&]+)"""
        ),
        r"\1\2***",
    ),
)


def names_a_secret(name: str) -> bool:
    """Tell whether what goes by this name is not to be shown."""
    return _NAME.search(name) is not None


def cover_secrets(text: str) -> str:
    """Return a text with passwords, tokens and the like struck out."""
    for pattern, cover in _SECRETS:
        text = pattern.sub(cover, text)
    return text


def without_secrets(text: str) -> str:
    """Return one short line of an error, with passwords, tokens and the like struck out."""
    line = cover_secrets(" ".join(text.split()))
    return line if len(line) <= _LONGEST else line[: _LONGEST - 1] + "…"
