"""Transcoding for real, and serving what came of it."""

from __future__ import annotations

import hashlib
import io
import math
import struct
import wave
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import av
import httpx2
import pytest
from anyio import to_thread

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox
from audio_files import ENCODINGS, make_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEYS = {"stream-public-key": PUBLIC_KEY, "stream-secret-key": SECRET_KEY}
BASE = "http://sandbox/api/media"
SECONDS = 5.0

pytestmark = pytest.mark.anyio


def tone(seconds: float = SECONDS, channels: int = 2) -> bytes:
    """A WAV file with a sine in it, of 441 Hz so that a tenth of a second can be repeated."""
    file = io.BytesIO()
    with wave.open(file, "wb") as writer:
        writer.setnchannels(channels)
        writer.setsampwidth(2)
        writer.setframerate(44_100)
        period = [int(9_000 * math.sin(n * math.tau / 100)) for n in range(4_410)]
        tenth = b"".join(struct.pack("<h", sample) * channels for sample in period)
        writer.writeframes(tenth * round(seconds * 10))
    return file.getvalue()


def quality(kind: str = "hls", container: str = "mpegts", preset: str = "good", **config: object) -> dict[str, Any]:
    return {"resolution": preset, "type": kind, "container_type": container, "audio_config": config}


def decoded(path: Path) -> tuple[float, int, int]:
    """A stream's seconds, sample rate in Hz and channels."""
    with av.open(path, "r") as container:
        stream = container.streams.audio[0]
        samples = sum(frame.samples for frame in container.decode(stream))
        return samples / stream.rate, stream.rate, stream.channels


@asynccontextmanager
async def transcoding(directory: Path) -> AsyncIterator[tuple[Sandbox, httpx2.AsyncClient]]:
    with anyio.fail_after(90):
        async with Sandbox(directory) as sandbox:
            transport = httpx2.ASGITransport(app=sandbox.app)
            async with httpx2.AsyncClient(transport=transport, headers=KEYS) as client:
                yield sandbox, client


async def uploaded(client: httpx2.AsyncClient, data: bytes, **more: object) -> str:
    """Create a media object and send ``data`` as its one part."""
    made = await client.post(f"{BASE}/create", json={"title": "A tone", "type": "audio", **more})
    media_id: str = made.json()["data"]["id"]
    sent = await client.post(
        f"{BASE}/{media_id}/part",
        files={"file": data},
        data={"index": "1", "hash": hashlib.md5(data).hexdigest()},
        headers={"Content-Range": f"bytes 0-{len(data) - 1}/{len(data)}"},
    )
    assert sent.status_code == 200, sent.text
    return media_id


async def settled(client: httpx2.AsyncClient, media_id: str, quality: str = "") -> dict[str, Any]:
    """The detail of a media object once its transcoding is over, or its first quality has the status ``quality``."""
    while True:
        shown: dict[str, Any] = (await client.get(f"{BASE}/{media_id}")).json()["data"]
        if shown["qualities"][0]["status"] == quality if quality else shown["status"] != "transcoding":
            return shown
        await anyio.sleep(0.01)


async def transcoded(client: httpx2.AsyncClient, data: bytes, **more: object) -> dict[str, Any]:
    media_id = await uploaded(client, data, **more)
    answer = await client.get(f"{BASE}/{media_id}/complete")
    assert answer.status_code == 200, answer.text
    return await settled(client, media_id)


async def refused(client: httpx2.AsyncClient, data: bytes, **more: object) -> tuple[int, str, str]:
    """What a complete that is refused says, and the status it leaves."""
    media_id = await uploaded(client, data, **more)
    answer = await client.get(f"{BASE}/{media_id}/complete")
    return answer.status_code, answer.json()["message"], (await settled(client, media_id))["status"]


async def test_a_default_upload_becomes_hls_as_long_as_its_source(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        shown = await transcoded(client, tone())
        folder = sandbox.media[shown["id"]].streams / "hls" / "0"
    assert (shown["status"], shown["duration"]) == ("done", SECONDS)
    seconds, rate, channels = decoded(folder / "index.m3u8")
    assert seconds == pytest.approx(SECONDS, abs=0.1)
    assert (rate, channels) == (44_100, 2)
    assert len(list(folder.glob("*.ts"))) == 2


async def test_every_quality_is_made_as_it_was_asked_for(tmp_path: Path) -> None:
    qualities = [
        quality(bitrate=128_000, sample_rate=22_050, channels="1", language="en"),
        quality(container="mp4", preset="highest", bitrate=320_000, sample_rate=48_000, channels="2"),
        quality("dash", "fmp4", preset="standard", language="vi"),
        quality("dash", "fmp4", preset="lossless", sample_rate=96_000, language="vi"),
        quality("dash", "fmp4", language="en"),
    ]
    async with transcoding(tmp_path) as (sandbox, client):
        shown = await transcoded(client, tone(1.0), qualities=qualities)
        streams = sandbox.media[shown["id"]].streams
        manifest = (await client.get(shown["assets"]["dash_url"])).text
    assert [(q["name"], q["type"], q["status"]) for q in shown["qualities"]] == [
        ("good", "hls", "done"),
        ("highest", "hls", "done"),
        ("standard", "dash", "done"),
        ("lossless", "dash", "done"),
        ("good", "dash", "done"),
    ]
    assert decoded(streams / "hls" / "0" / "index.m3u8")[1:] == (22_050, 1)
    assert decoded(streams / "hls" / "1" / "index.m3u8")[1:] == (48_000, 2)
    assert (manifest.count("<AdaptationSet"), manifest.count("<Representation")) == (2, 3)
    assert 'lang="vi"' in manifest


@pytest.mark.parametrize("suffix", list(ENCODINGS))
async def test_the_formats_people_have_are_taken(tmp_path: Path, suffix: str) -> None:
    data = await to_thread.run_sync(lambda: make_audio(tmp_path / f"tone{suffix}").read_bytes())
    async with transcoding(tmp_path) as (_, client):
        shown = await transcoded(client, data)
    assert (shown["status"], shown["duration"]) == ("done", pytest.approx(1.0, abs=0.1))


async def test_a_mono_source_stays_mono_where_no_channels_were_asked_for(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        shown = await transcoded(client, tone(1.0, channels=1))
        playlist = sandbox.media[shown["id"]].streams / "hls" / "0" / "index.m3u8"
    assert decoded(playlist)[2] == 1


async def test_a_picture_in_the_file_is_left_out(tmp_path: Path) -> None:
    file = io.BytesIO()
    with av.open(io.BytesIO(tone(1.0)), "r") as source, av.open(file, "w", format="matroska") as target:
        picture = target.add_stream("mjpeg", rate=1)
        assert isinstance(picture, av.VideoStream)
        picture.width, picture.height, picture.pix_fmt = 16, 16, "yuvj420p"
        audio = target.add_stream("flac", rate=44_100, layout="stereo")
        assert isinstance(audio, av.AudioStream)
        target.mux(picture.encode(av.VideoFrame(16, 16, "yuvj420p")))
        target.mux(picture.encode(None))
        for frame in source.decode(audio=0):
            target.mux(audio.encode(frame))
        target.mux(audio.encode(None))
    async with transcoding(tmp_path) as (_, client):
        assert (await transcoded(client, file.getvalue()))["status"] == "done"


@pytest.mark.parametrize("suffix", [".mp3", ".aac", ".flac"])
async def test_damaged_frames_are_left_out(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"tone{suffix}"
    data = await to_thread.run_sync(lambda: bytearray(make_audio(path, seconds=2.0).read_bytes()))
    middle = len(data) // 2
    data[middle : middle + 1_500] = b"\xff\x00\xa5" * 500
    async with transcoding(tmp_path) as (_, client):
        shown = await transcoded(client, bytes(data))
    assert shown["status"] == "done"
    assert 0 < shown["duration"] < 2


@pytest.mark.parametrize(
    "data",
    [b"no audio at all", b"RIFF\x00\x00\x00\x00WAVE", b"#EXTM3U\n#EXTINF:1,\nfile:///etc/passwd\n", tone(0)],
)
async def test_what_is_not_audio_is_refused_at_complete(tmp_path: Path, data: bytes) -> None:
    async with transcoding(tmp_path) as (_, client):
        assert await refused(client, data) == (400, "Invalid media type.", "fail")


async def test_a_playlist_does_not_lead_to_other_files_of_the_machine(tmp_path: Path) -> None:
    await to_thread.run_sync((tmp_path / "other.wav").write_bytes, tone(1.0))
    listing = f"#EXTM3U\n#EXT-X-TARGETDURATION:1\n#EXTINF:1,\n{tmp_path}/other.wav\n#EXT-X-ENDLIST\n"
    async with transcoding(tmp_path) as (_, client):
        assert await refused(client, listing.encode()) == (400, "Invalid media type.", "fail")


async def test_a_mono_source_becomes_stereo_where_that_was_asked_for(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        shown = await transcoded(client, tone(1.0, channels=1), qualities=[quality(channels="2")])
        folder = sandbox.media[shown["id"]].streams / "hls" / "0"
        assert decoded(folder / "index.m3u8")[2] == 2


async def test_a_track_that_the_source_does_not_have_is_refused_at_complete(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (_, client):
        answer = await refused(client, tone(1.0), qualities=[quality(index=1)])
    assert answer == (400, "Invalid media.", "fail")


async def test_a_source_that_cannot_be_transcoded_fails_the_media(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        media_id = await uploaded(client, tone(1.0))
        await to_thread.run_sync(sandbox.media[media_id].streams.write_bytes, b"in the way")
        await client.get(f"{BASE}/{media_id}/complete")
        shown = await settled(client, media_id)
    assert (shown["status"], shown["assets"]) == ("fail", None)


async def test_a_second_complete_while_it_is_transcoded_fails_it_for_good(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (_, client):
        media_id = await uploaded(client, tone())
        for _ in range(2):
            answer = await client.get(f"{BASE}/{media_id}/complete")
        await settled(client, media_id, quality="done")
        shown = await settled(client, media_id)
    assert answer.json()["message"] == "Invalid media status."
    assert (shown["status"], shown["assets"]) == ("fail", None)


async def test_two_completes_at_once_fail_it(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (_, client):
        media_id = await uploaded(client, tone(1.0))
        async with anyio.create_task_group() as tasks:
            for _ in range(2):
                tasks.start_soon(client.get, f"{BASE}/{media_id}/complete")
        assert (await settled(client, media_id))["status"] == "fail"


async def test_transcoding_stops_when_the_sandbox_does(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        media_id = await uploaded(client, tone(60.0, channels=1))
        await client.get(f"{BASE}/{media_id}/complete")
    assert sandbox.media[media_id].status == "transcoding"


async def test_the_links_lead_to_playlists_and_segments_that_any_page_may_play(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (_, client):
        shown = await transcoded(client, tone(1.0))
        master = await client.get(shown["assets"]["hls_url"])
        variant = await client.get(master.url.join(master.text.splitlines()[-1]))
        segment = await client.get(variant.url.join("segment_00000.ts"), headers={"Range": "bytes=0-187"})
        source = await client.get(shown["assets"]["source_url"])
    assert [answer.headers["Content-Type"] for answer in (master, variant, segment)] == [
        "application/vnd.apple.mpegurl",
        "application/vnd.apple.mpegurl",
        "video/mp2t",
    ]
    assert {a.headers["Access-Control-Allow-Origin"] for a in (master, variant, segment, source)} == {"*"}
    assert 'CODECS="mp4a.40.2"' in master.text
    assert (segment.status_code, segment.content[:1], len(segment.content)) == (206, b"G", 188)
    assert source.content == tone(1.0)


async def test_links_of_a_private_media_object_open_with_its_token_only(tmp_path: Path) -> None:
    qualities = [quality(container="mp4"), quality("dash", "fmp4")]
    async with transcoding(tmp_path) as (sandbox, client):
        assets = (await transcoded(client, tone(1.0), is_public=False, qualities=qualities))["assets"]
        token = f"?token={next(iter(sandbox.media.values())).token}"
        master = await client.get(assets["hls_url"])
        variant = await client.get(master.url.join(master.text.splitlines()[-1]))
        uris = [line for line in variant.text.splitlines() if not line.startswith("#")]
        manifest = await client.get(assets["dash_url"])
        players = [(await client.get(assets[f"{kind}_player_url"])).status_code for kind in ("hls", "dash")]
        without = await client.get(assets["hls_url"].removesuffix(token))
        segments = [(await client.get(variant.url.join(uri))).status_code for uri in uris]
    assert assets["mp4_url"] == token
    assert all(uri.endswith(token) for uri in uris)
    assert f'URI="init.mp4{token}"' in variant.text
    assert f'.m4s{token}"' in manifest.text
    assert (players, without.status_code) == ([200, 200], 403)
    assert set(segments) == {200}


async def test_the_master_playlist_lists_one_container_only(tmp_path: Path) -> None:
    """Chromium stops where going from variant to variant takes it from one container to the other."""
    qualities = [quality(container="mp4"), quality(container="mpegts"), quality(container="mp4", preset="highest")]
    async with transcoding(tmp_path) as (_, client):
        shown = await transcoded(client, tone(1.0), qualities=qualities)
        master = await client.get(shown["assets"]["hls_url"])
        other = await client.get(master.url.join("1/index.m3u8"))
    assert [line for line in master.text.splitlines() if line[0] != "#"] == ["0/index.m3u8", "2/index.m3u8"]
    assert other.status_code == 200


@pytest.mark.parametrize(
    "path", ["nothing.ts", "%2e%2e/source", "..%2F..%2Fother", "/etc/passwd", "hls", "hls/master.m3u8"]
)
async def test_a_path_that_leads_elsewhere_is_not_found(tmp_path: Path, path: str) -> None:
    await to_thread.run_sync((tmp_path / "other").write_bytes, b"not yours")
    async with transcoding(tmp_path) as (_, client):
        media_id = await uploaded(client, tone(0.1))
        answer = await client.get(f"http://sandbox/vod/{media_id}/{path}")
    assert answer.status_code == 404


async def test_the_player_shows_any_title_as_text(tmp_path: Path) -> None:
    title = "</script><script>alert(1)</script>"
    async with transcoding(tmp_path) as (_, client):
        media_id = await uploaded(client, tone(0.1), title=title)
        page = await client.get(f"http://sandbox/player/{media_id}?type=dash")
        nothing = await client.get("http://sandbox/player/nothing")
        await client.delete(f"{BASE}/{media_id}")
        deleted = await client.get(f"http://sandbox/player/{media_id}")
    assert "alert(1)</script>" not in page.text
    assert "alert(1)\\u003c/script>" in page.text
    assert page.headers["Content-Security-Policy"].startswith("default-src 'none'")
    assert [nothing.status_code, deleted.status_code] == [404, 404]


async def test_running_twice_leaves_the_first_in_charge(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        async with sandbox.running() as same:
            assert same is sandbox
        assert (await transcoded(client, tone(0.5)))["status"] == "done"


async def test_what_was_received_is_kept_apart_by_media_object(tmp_path: Path) -> None:
    async with transcoding(tmp_path) as (sandbox, client):
        first, second = tone(0.3), tone(0.4)
        ids = [await uploaded(client, data) for data in (first, second)]
        for media_id in ids:
            await client.get(f"{BASE}/{media_id}/complete")
            await settled(client, media_id)
        received = [await to_thread.run_sync(sandbox.received(media_id).read_bytes) for media_id in ids]
    assert received == [first, second]
