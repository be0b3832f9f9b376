"""The links of a media object."""

from __future__ import annotations

from html import escape
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .media import Media


def query(media: Media) -> str:
    """Give what opens a media object's links: nothing for a public one."""
    return "" if media.creation.is_public else f"?token={media.token}"


def assets(media: Media, base: str) -> dict[str, str] | None:
    """Give the links under ``base``, an origin; None until there is something to link to."""
    if not media.playable:
        return None
    token = query(media)
    hls = f"{base}/vod/{media.id}/hls/master.m3u8{token}" if media.done("hls") else ""
    dash = f"{base}/vod/{media.id}/dash/manifest.mpd{token}" if media.done("dash") else ""
    player = f"{base}/player/{media.id}"
    hls_player = f"{player}{token}" if hls else ""
    dash_player = f"{player}{token}{'&' if token else '?'}type=dash" if dash else ""
    return {
        "hls_url": hls,
        "hls_player_url": hls_player,
        "hls_iframe": _iframe(hls_player),
        "dash_url": dash,
        "dash_player_url": dash_player,
        "dash_iframe": _iframe(dash_player),
        "source_url": f"{base}/vod/{media.id}/source{token}",
        "thumbnail_url": "",
        # Audio has none; the real service leaves the token of a private one standing alone here.
        "mp4_url": token,
    }


def _iframe(url: str) -> str:
    return f'<iframe src="{escape(url)}" width="100%" height="160" allow="autoplay"></iframe>' if url else ""
