"""Playlists: HLS (RFC 8216) and DASH (ISO/IEC 23009-1) as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from .media import Quality

# AAC-LC (RFC 6381), the one profile that FFmpeg's own encoder makes here.
_CODEC = "mp4a.40.2"
_DASH_SEGMENTS = re.compile(r'((?:initialization|media)="[^"?]+)"')
_HLS_MAP = re.compile(r'(#EXT-X-MAP:URI="[^"?]+)"')


def master_playlist(variants: Sequence[tuple[str, Quality]], query: str) -> str:
    """Give the master playlist of HLS ``variants``, each its URI and its quality; ``query`` goes on every URI."""
    lines = ["#EXTM3U", "#EXT-X-VERSION:6"]
    for uri, quality in variants:
        lines.append(f'#EXT-X-STREAM-INF:BANDWIDTH={quality.peak_bit_rate},CODECS="{_CODEC}"')
        lines.append(uri + query)
    return "\n".join(lines) + "\n"


def with_query(text: str, query: str) -> str:
    """Give the HLS or DASH playlist ``text`` with ``query``, such as ``?token=...``, on each of its relative URIs."""
    if not text.startswith("#EXTM3U"):
        return _DASH_SEGMENTS.sub(rf'\1{query}"', text)
    lines = (line if line.startswith("#") or not line else line + query for line in text.splitlines())
    return _HLS_MAP.sub(rf'\1{query}"', "\n".join(lines) + "\n")


def _segments(playlist: Path) -> Iterator[tuple[float, int]]:
    seconds = 0.0
    for line in playlist.read_text(encoding="utf-8").splitlines():
        if line.startswith("#EXTINF:"):
            seconds = float(line.removeprefix("#EXTINF:").partition(",")[0])
        elif line and not line.startswith("#"):
            yield seconds, (playlist.parent / line).stat().st_size


def peak_bit_rate(playlist: Path, target_seconds: float) -> int:
    """Measure a media playlist's peak in bit/s: its BANDWIDTH.

    As RFC 8216, section 4.1, has it, segments shorter than half of ``target_seconds`` do not count, unless there are
    no others.
    """
    segments = [(seconds, size) for seconds, size in _segments(playlist) if seconds > 0]
    long = [segment for segment in segments if segment[0] >= target_seconds / 2]
    return max((round(size * 8 / seconds) for seconds, size in long or segments), default=0)
