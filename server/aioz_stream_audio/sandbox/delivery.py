"""Serving what was made: streams, sources and a small player page."""

from __future__ import annotations

import secrets
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from anyio import to_thread
from starlette.responses import FileResponse, HTMLResponse, Response

from aioz_stream_audio.player import page_of

from .links import assets, query
from .playlist import master_playlist, with_query
from .refusal import RefusalError

if TYPE_CHECKING:
    from starlette.requests import Request

    from .media import Media

HLS_PLAYLIST = "application/vnd.apple.mpegurl"
CONTENT_TYPES = {
    ".m3u8": HLS_PLAYLIST,
    ".mpd": "application/dash+xml",
    ".ts": "video/mp2t",
    ".m4s": "audio/mp4",
    ".mp4": "audio/mp4",
}
_DASH_SCRIPT = Path(__file__).with_name("dash.js")
_PLAYLISTS = frozenset({".m3u8", ".mpd"})
# A stream may be played from any page, as from a content network.
_ANYWHERE = {"Access-Control-Allow-Origin": "*"}
_PAGE_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; media-src 'self' blob:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'"
)


class Delivery:
    """What links lead to; no keys are asked for, but a private media object's token is."""

    def __init__(self, media: dict[str, Media]) -> None:
        self._media = media

    async def stream(self, request: Request) -> Response:
        """Serve a playlist, a segment or the source."""
        media = self._find(request)
        path = request.path_params["path"]
        if path == "hls/master.m3u8":
            return Response(_master(media), media_type=HLS_PLAYLIST, headers=_ANYWHERE)
        file = await to_thread.run_sync(_file, media, path)
        content_type = CONTENT_TYPES.get(file.suffix, "application/octet-stream")
        if file.suffix not in _PLAYLISTS:
            return FileResponse(file, media_type=content_type, headers=_ANYWHERE)
        text = await to_thread.run_sync(file.read_text, "utf-8")
        return Response(with_query(text, query(media)), media_type=content_type, headers=_ANYWHERE)

    async def player(self, request: Request) -> Response:
        """Serve a page that plays a media object."""
        media = self._find(request)
        link = _link(media, str(request.base_url).rstrip("/"))
        if request.query_params.get("type") == "dash":
            link["hls_url"] = None
        script = await to_thread.run_sync(_DASH_SCRIPT.read_text, "utf-8")
        page = await to_thread.run_sync(page_of, link, script)
        return HTMLResponse(page, headers={"Content-Security-Policy": _PAGE_POLICY})

    def _find(self, request: Request) -> Media:
        media = self._media.get(request.path_params["id"])
        if media is None or media.status == "deleted":
            raise RefusalError("Media not found.", status=404)
        given = request.query_params.get("token", "")
        if not media.creation.is_public and not secrets.compare_digest(given.encode(), media.token.encode()):
            raise RefusalError("Invalid token.", status=403)
        return media


def _link(media: Media, base: str) -> dict[str, object]:
    """Give of a media object what the player shows, with links under ``base``, an origin."""
    links = assets(media, base) or {}
    return {
        "audio_id": media.id,
        "title": media.creation.title,
        "status": media.status,
        "ready": media.status == "done",
        **{name: links.get(name) or None for name in ("hls_url", "dash_url", "hls_player_url", "dash_player_url")},
        "duration_seconds": media.duration or None,
        "qualities": [
            {
                "name": quality.encoding.preset,
                "type": quality.encoding.type,
                "status": quality.status,
                "bitrate": quality.encoding.bit_rate,
            }
            for quality in media.qualities
        ],
    }


def _master(media: Media) -> str:
    """List the HLS variants in the container of the first one.

    Players go from variant to variant as the line allows, and Chromium 156 stops where that takes it from MPEG-TS to
    MP4 or back. Variants in the other container are there, but nothing leads to them.
    """
    made = media.done("hls")
    if not made:
        raise RefusalError("Not found.", status=404)
    container = made[0][1].encoding.container
    variants = [(f"{n}/index.m3u8", quality) for n, quality in made if quality.encoding.container == container]
    return master_playlist(variants, query(media))


def _file(media: Media, path: str) -> Path:
    """Find a file by its path in a link; blocks.

    Raises:
        RefusalError: there is none, or it is not one of this media object's streams.
    """
    parts = PurePosixPath(path).parts
    file = media.source if path == "source" else media.streams.joinpath(*parts)
    if not file.resolve().is_relative_to(media.folder.resolve()) or not file.is_file():
        raise RefusalError("Not found.", status=404)
    return file
