from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from aioz_stream_audio.errors import PlaybackError
from aioz_stream_audio.playback import Playback, play

if TYPE_CHECKING:
    from collections.abc import Mapping

pytestmark = pytest.mark.anyio

MASTER = "https://cdn.example/vod/1/master.m3u8?token=marked"
MPEG_TS = b"\x47" + bytes(187)
MP4 = b"\0\0\0\x18styp" + bytes(16)


def playlist(*lines: str) -> bytes:
    return "\n".join(("#EXTM3U", *lines, "")).encode()


def variants(*uris: str) -> bytes:
    return playlist(*(f"#EXT-X-STREAM-INF:BANDWIDTH=128000\n{uri}" for uri in uris))


def segments(*uris: str) -> bytes:
    return playlist("#EXT-X-TARGETDURATION:4", *(f"#EXTINF:4.0,\n{uri}" for uri in uris), "#EXT-X-ENDLIST")


async def played(pages: Mapping[str, bytes], asked: list[str] | None = None) -> Playback:
    """Play `MASTER` from a server that has ``pages``; every address asked for is put into ``asked``."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        if asked is not None:
            asked.append(str(request.url))
        content = pages.get(str(request.url))
        return httpx2.Response(404) if content is None else httpx2.Response(200, content=content)

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
        return await play(client, MASTER)


async def test_a_link_plays_if_its_first_variant_and_that_ones_first_segment_are_there() -> None:
    asked: list[str] = []
    playback = await played(
        {
            MASTER: variants("high/index.m3u8?token=marked", "low/index.m3u8?token=marked"),
            "https://cdn.example/vod/1/high/index.m3u8?token=marked": segments("0.ts?token=marked", "1.ts"),
            "https://cdn.example/vod/1/high/0.ts?token=marked": MPEG_TS,
        },
        asked,
    )
    assert playback == Playback(segments=2, first_segment_bytes=188)
    assert asked == [
        MASTER,
        "https://cdn.example/vod/1/high/index.m3u8?token=marked",
        "https://cdn.example/vod/1/high/0.ts?token=marked",
    ]


async def test_a_playlist_may_hold_segments_itself() -> None:
    pages = {MASTER: segments("0.ts"), "https://cdn.example/vod/1/0.ts": MPEG_TS}
    assert await played(pages) == Playback(segments=1, first_segment_bytes=188)


@pytest.mark.parametrize(
    ("uri", "url"),
    [
        ("a/0.ts", "https://cdn.example/vod/1/a/0.ts"),
        ("../0.ts", "https://cdn.example/vod/0.ts"),
        ("/0.ts", "https://cdn.example/0.ts"),
        ("//other.example/0.ts", "https://other.example/0.ts"),
        ("http://other.example/0.ts?a=b", "http://other.example/0.ts?a=b"),
    ],
)
async def test_an_address_in_a_playlist_is_relative_to_the_playlists_own(uri: str, url: str) -> None:
    assert await played({MASTER: segments(uri), url: MPEG_TS}) == Playback(segments=1, first_segment_bytes=188)


@pytest.mark.parametrize("box", [b"styp", b"moof", b"ftyp", b"sidx"])
async def test_a_segment_may_be_mp4(box: bytes) -> None:
    pages = {MASTER: segments("0.m4s"), "https://cdn.example/vod/1/0.m4s": MP4.replace(b"styp", box)}
    assert (await played(pages)).first_segment_bytes == len(MP4)


async def test_a_playlist_with_crlf_and_blank_lines_is_one() -> None:
    pages = {MASTER: segments("", "0.ts").replace(b"\n", b"\r\n"), "https://cdn.example/vod/1/0.ts": MPEG_TS}
    assert (await played(pages)).segments == 1


@pytest.mark.parametrize("content", [b"", b"<html></html>", b"\xff\xfe\0", playlist(), playlist("#EXT-X-ENDLIST")])
async def test_what_is_no_playlist_or_an_empty_one_does_not_play(content: bytes) -> None:
    with pytest.raises(PlaybackError, match="does not lead to an HLS playlist, so it does not play"):
        await played({MASTER: content})


async def test_a_variant_that_is_no_playlist_does_not_play() -> None:
    with pytest.raises(PlaybackError, match="does not lead to an HLS playlist"):
        await played({MASTER: variants("0.m3u8"), "https://cdn.example/vod/1/0.m3u8": b"{}"})


@pytest.mark.parametrize("content", [b"", b"<!DOCTYPE html>", b"ID3\x04", bytes(188)])
async def test_a_first_segment_that_is_neither_mpeg_ts_nor_mp4_does_not_play(content: bytes) -> None:
    with pytest.raises(PlaybackError, match="neither MPEG-TS nor MP4, so the link does not play"):
        await played({MASTER: segments("0.ts"), "https://cdn.example/vod/1/0.ts": content})


async def test_a_page_that_is_not_there_does_not_play_and_the_token_is_not_told() -> None:
    for pages in ({}, {MASTER: variants("0.m3u8")}, {MASTER: segments("0.ts")}):
        with pytest.raises(PlaybackError, match="status 404") as caught:
            await played(pages)
        assert "marked" not in str(caught.value)


@pytest.mark.parametrize("error", [httpx2.ConnectError("Connection refused"), httpx2.ReadTimeout("")])
async def test_a_stream_that_cannot_be_fetched_does_not_play_and_the_token_is_not_told(error: Exception) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise error

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
        with pytest.raises(PlaybackError, match=r"could not be fetched \((Connection refused|ReadTimeout)\)") as caught:
            await play(client, MASTER)
    assert "marked" not in str(caught.value)


@pytest.mark.parametrize("uri", ["https://[", "https://host:port/0.ts", "ftp://elsewhere/0.ts", "data:,x"])
async def test_an_address_that_leads_nowhere_does_not_play(uri: str) -> None:
    """Guards against httpx2.InvalidURL, which is not an httpx2.HTTPError."""

    def handler(request: httpx2.Request) -> httpx2.Response:
        if str(request.url) == MASTER:
            return httpx2.Response(200, content=segments(uri))
        raise httpx2.UnsupportedProtocol("There is no such protocol.")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
        with pytest.raises(PlaybackError):
            await play(client, MASTER)


async def test_a_link_that_is_no_address_does_not_play() -> None:
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(lambda _: httpx2.Response(404))) as client:
        with pytest.raises(PlaybackError):
            await play(client, "https://cdn.example:port/master.m3u8")
