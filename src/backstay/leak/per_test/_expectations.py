"""What may be left: patterns, and whether they mean a finding."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase

from backstay.leak.per_test._left import Left

__all__ = ["FIELDS", "Pattern", "without"]

FIELDS = ("function", "creator", "site", "owner", "name")


@dataclass(frozen=True, slots=True)
class Pattern:
    """A shell pattern for what runs, who started it, or whose it is.

    Attributes:
        field: "function" (qualified name of what runs), "creator" ("path:function" that started it, or
            that function alone), "site" ("path:line"), "owner", "name" (of the task); "" for function or creator.
        text: the pattern; case matters.
    """

    field: str
    text: str

    @classmethod
    def parse(cls, text: str) -> Pattern:
        """Read "pattern" or "field=pattern".

        Raises:
            ValueError: it is empty, or the field is none of those.
        """
        field, separator, pattern = text.strip().partition("=")
        if not separator:
            field, pattern = "", field
        if field and field not in FIELDS:
            raise ValueError(
                f"cannot read the pattern {text!r}: before '=' stands one of {', '.join(FIELDS)}, not {field!r}"
            )
        if not pattern.strip("* "):
            raise ValueError(f"the pattern {text!r} would fit every leak: name what may be left")
        return cls(field, pattern)

    def covers(self, one: Left) -> bool:
        """Tell whether `one` is meant."""
        words = {
            "function": (one.coroutine,),
            "creator": (one.place, one.function),
            "site": (one.site,),
            "owner": (one.owner,),
            "name": (one.name,),
            "": (one.coroutine, one.place, one.function),
        }
        return any(fnmatchcase(word, self.text) for word in words[self.field])


def without(left: Iterable[Left], patterns: Iterable[Pattern]) -> list[Left]:
    """Leave out what may be left."""
    known = list(patterns)
    return [one for one in left if not any(pattern.covers(one) for pattern in known)]
