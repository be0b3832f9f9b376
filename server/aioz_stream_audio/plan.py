"""How a file is cut into parts. Pure: sizes in, ranges out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
PART_SIZE_MIN = 5 * MIB
# A limit of 50,000,000 bytes has been seen in front of the API; this stays well below it.
PART_SIZE_MAX = 32 * MIB
SINGLE_PART_MAX = 8 * MIB
# Enough parts that the connections finish at about the same time, few enough that none waits for an answer too often.
PARTS_PER_CONNECTION = 4


@dataclass(frozen=True)
class Part:
    """Bytes ``start`` to ``stop`` (exclusive) of a file of ``total`` bytes; ``index`` counts from 0."""

    index: int
    start: int
    stop: int
    total: int

    @property
    def size(self) -> int:
        """Give the number of bytes."""
        return self.stop - self.start

    @property
    def content_range(self) -> str:
        """Give the ``Content-Range`` header, whose end is inclusive (RFC 9110, section 14.4)."""
        return f"bytes {self.start}-{self.stop - 1}/{self.total}"


@dataclass(frozen=True)
class Plan:
    """A file of ``size`` bytes in parts of ``part_size`` bytes, the last one what is left."""

    size: int
    part_size: int

    @property
    def parts_total(self) -> int:
        """Give the number of parts."""
        return -(-self.size // self.part_size)

    def part(self, index: int) -> Part:
        """Give one part."""
        start = index * self.part_size
        return Part(index, start, min(start + self.part_size, self.size), self.size)

    def __iter__(self) -> Iterator[Part]:
        return (self.part(index) for index in range(self.parts_total))


def choose_part_size(size: int, parallel_parts: int) -> int:
    """Choose the size of a part, in bytes, for a file of ``size`` bytes sent over ``parallel_parts`` connections."""
    if size <= SINGLE_PART_MAX:
        return SINGLE_PART_MAX
    share = -(-size // (PARTS_PER_CONNECTION * parallel_parts))
    whole_mib = -(-share // MIB) * MIB
    return min(max(whole_mib, PART_SIZE_MIN), PART_SIZE_MAX)
