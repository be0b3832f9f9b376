"""Whether a link plays: its playlist is there, and so is its first segment."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx2

from .api import reason
from .errors import PlaybackError

if TYPE_CHECKING:
    from collections.abc import Sequence

_MPEG_TS_SYNC = 0x47


@dataclass(frozen=True)
class Playback:
    """A link that plays: the number of segments of its first variant, and its first segment's size in bytes."""

    segments: int
    first_segment_bytes: int


async def play(client: httpx2.AsyncClient, hls_url: str | None) -> Playback:
    """Fetch the playlist at ``hls_url``, its first variant and the first segment of that (RFC 8216, section 4.3).

    Raises:
        PlaybackError: one of them is not there, or not what it should be.
    """
    if hls_url is None:
        raise PlaybackError("There is no HLS link, and only HLS is played here.")
    url, lines = await _playlist(client, hls_url)
    if any(line.startswith("#EXT-X-STREAM-INF") for line in lines):
        url, lines = await _playlist(client, _join(url, _uris(lines)[0]))
    segments = _uris(lines)
    media = await _fetch(client, _join(url, segments[0]))
    if media[:1] != bytes([_MPEG_TS_SYNC]) and media[4:8] not in {b"styp", b"moof", b"ftyp", b"sidx"}:
        raise PlaybackError("The first segment is neither MPEG-TS nor MP4, so the link does not play.")
    return Playback(len(segments), len(media))


async def _playlist(client: httpx2.AsyncClient, url: str) -> tuple[str, Sequence[str]]:
    lines = (await _fetch(client, url)).decode(errors="replace").splitlines()
    if not lines or lines[0].strip() != "#EXTM3U" or not _uris(lines):
        raise PlaybackError("The link does not lead to an HLS playlist, so it does not play.")
    return url, lines


def _uris(lines: Sequence[str]) -> list[str]:
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def _join(base: str, uri: str) -> str:
    try:
        return str(httpx2.URL(base).join(uri))
    except httpx2.InvalidURL as error:
        raise PlaybackError("The playlist names an address that is none, so the link does not play.") from error


async def _fetch(client: httpx2.AsyncClient, url: str) -> bytes:
    try:
        response = await client.get(url)
        response.raise_for_status()
    except httpx2.HTTPStatusError as error:
        raise PlaybackError(f"The stream answers with status {error.response.status_code}.") from error
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise PlaybackError(f"The stream could not be fetched ({reason(error)}).") from error
    return response.content
