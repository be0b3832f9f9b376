"""Draw icon.png: the bars of a sound, and an arrow that rises out of them. Needs nothing but Python."""

from __future__ import annotations

import math
import struct
import zlib
from pathlib import Path

SIZE = 512
"""Width and height, in pixels; all lengths below are in these."""

Colour = tuple[int, int, int]
Point = tuple[float, float]
NIGHT: Colour = (23, 32, 51)
SAND: Colour = (244, 236, 216)
CORAL: Colour = (255, 122, 89)

CORNER_RADIUS = 112.0
STROKE_RADIUS = 23.0
# The left half of the picture, each stroke from one end to the other; the right half mirrors it.
BARS: tuple[tuple[Point, Point], ...] = (((98.0, 282.0), (98.0, 338.0)), ((177.0, 254.0), (177.0, 366.0)))
ARROW: tuple[tuple[Point, Point], ...] = (((256.0, 106.0), (256.0, 414.0)), ((256.0, 106.0), (172.0, 190.0)))


def _coverage(distance: float) -> float:
    """Give how much of a pixel is inside an edge whose signed distance from its middle this is: 1 is all of it."""
    return min(1.0, max(0.0, 0.5 - distance))


def _ground(x: float, y: float) -> float:
    """Give the distance to the square with round corners; it is negative inside."""
    beyond = [max(CORNER_RADIUS - place, place - (SIZE - CORNER_RADIUS)) for place in (x, y)]
    return math.hypot(*(max(0.0, excess) for excess in beyond)) + min(0.0, max(beyond)) - CORNER_RADIUS


def _stroke(x: float, y: float, start: Point, end: Point) -> float:
    """Give the distance to a stroke with round ends; it is negative inside."""
    across, down = end[0] - start[0], end[1] - start[1]
    along = ((x - start[0]) * across + (y - start[1]) * down) / (across**2 + down**2)
    along = min(1.0, max(0.0, along))
    return math.hypot(x - start[0] - along * across, y - start[1] - along * down) - STROKE_RADIUS


def _over(below: Colour, above: Colour, coverage: float) -> Colour:
    red, green, blue = (round(low + (high - low) * coverage) for low, high in zip(below, above, strict=True))
    return red, green, blue


def _pixel(column: int, row: int) -> bytes:
    """Give a pixel of the left half as red, green, blue and opacity."""
    x, y = column + 0.5, row + 0.5
    colour = NIGHT
    for strokes, paint in ((BARS, SAND), (ARROW, CORAL)):
        colour = _over(colour, paint, _coverage(min(_stroke(x, y, *stroke) for stroke in strokes)))
    return bytes((*colour, round(255 * _coverage(_ground(x, y)))))


def _row(row: int) -> bytes:
    half = [_pixel(column, row) for column in range(SIZE // 2)]
    return b"".join(half + half[::-1])


def pixels() -> bytes:
    """Give the picture's rows from the top, each of `SIZE` pixels of four bytes."""
    return b"".join(map(_row, range(SIZE)))


def png(picture: bytes) -> bytes:
    """Give ``picture`` as a PNG file (ISO/IEC 15948)."""
    row_bytes = 4 * SIZE
    # Each row begins with the number of its filter: none.
    rows = b"".join(b"\0" + picture[start : start + row_bytes] for start in range(0, len(picture), row_bytes))
    head = struct.pack(">IIBBBBB", SIZE, SIZE, 8, 6, 0, 0, 0)
    chunks = _chunk(b"IHDR", head) + _chunk(b"IDAT", zlib.compress(rows, 9)) + _chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + chunks


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


if __name__ == "__main__":
    Path(__file__).with_name("icon.png").write_bytes(png(pixels()))
