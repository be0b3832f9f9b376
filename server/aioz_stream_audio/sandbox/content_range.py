"""Where in the file a part belongs; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

from .refusal import RefusalError

# Sixteen digits hold more bytes than any file; without a limit, Python would refuse to read the number instead.
_FORM = re.compile(r"bytes ([0-9]{1,16})-([0-9]{1,16})/([0-9]{1,16})")


@dataclass(frozen=True)
class ContentRange:
    """``bytes START-END/TOTAL`` (RFC 9110, section 14.4); all in bytes, ``end`` inclusive."""

    start: int
    end: int
    total: int

    @property
    def size(self) -> int:
        """Give how many bytes the part has."""
        return self.end - self.start + 1

    @classmethod
    def parse(cls, header: str) -> ContentRange:
        """Read the header.

        Raises:
            RefusalError: there is none, or it makes no sense.
        """
        match = _FORM.fullmatch(header)
        if match is None:
            raise RefusalError("Invalid content range.")
        content_range = cls(*map(int, match.groups()))
        if not content_range.start <= content_range.end < content_range.total:
            raise RefusalError("Invalid content range.")
        return content_range
