from __future__ import annotations

import json
from typing import TYPE_CHECKING

import anyio
import pytest

from aioz_stream_audio.batch import FILES_AT_ONCE, Wishes, in_words, upload_files
from aioz_stream_audio.errors import KeysMissingError
from aioz_stream_audio.models import Media
from aioz_stream_audio.options import UploadOptions
from aioz_stream_audio.playback import Playback
from aioz_stream_audio.publication import link_of
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Fault, Sandbox, faults, serve
from audio_files import make_audio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from aioz_stream_audio.settings import Settings

pytestmark = pytest.mark.anyio

Capture = pytest.CaptureFixture[str]
JSON = Wishes(as_json=True)


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("FORCE_COLOR", "TTY_COMPATIBLE"):
        monkeypatch.delenv(name, raising=False)


def tones(directory: Path, *names: str) -> list[str]:
    return [str(make_audio(directory / name, seconds=0.3)) for name in names]


def detail(status: str) -> Fault:
    """Tell of an audio object in ``status``, whatever is true."""
    answer = {"status": "success", "data": {"id": "id-1", "title": "a", "status": status}}
    return faults.raw(200, "application/json", json.dumps(answer).encode())


async def upload(settings: Settings, paths: list[str], wishes: Wishes, options: UploadOptions | None = None) -> int:
    with anyio.fail_after(90):
        return await upload_files(settings, paths, options or UploadOptions(), wishes)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket brings about, which no event of this side can tell."""
    for _ in range(1_000):
        if condition():
            return
        await anyio.sleep(0.01)
    pytest.fail("it did not happen")


async def test_a_link_is_printed_as_soon_as_its_file_is_done(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    """Guards against an interruption that costs the links of the files that were done."""
    held = anyio.Event()
    sandbox.faults.add("create", faults.stall(until=held))
    paths = tones(tmp_path, "c.mp3", "a.flac", "b.wav")
    printed: list[str] = []

    def two_are_printed() -> bool:
        printed.extend(capsys.readouterr().out.splitlines())
        return len(printed) == 2

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload, settings, paths, JSON)
        # One of the three is held up until the two others are told of.
        await until(two_are_printed)
        held.set()
    results = [json.loads(line) for line in (*printed, *capsys.readouterr().out.splitlines())]
    assert sorted(result["path"] for result in results) == sorted(paths)
    assert all(result["ready"] for result in results)


async def test_after_a_failure_of_one_file_the_same_command_makes_no_second_audio_of_the_others(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    good = tones(tmp_path, "a.wav")
    assert await upload(settings, [*good, str(tmp_path / "b.wav")], JSON) == 1
    assert await upload(settings, [*good, *tones(tmp_path, "b.wav")], JSON) == 0
    results = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [result["title"] for result in results].count("a") == 2
    assert len({result["audio_id"] for result in results}) == len(sandbox.media) == 2


async def test_once_all_are_up_the_same_command_makes_another_audio(
    settings: Settings, tmp_path: Path, sandbox: Sandbox
) -> None:
    paths = tones(tmp_path, "a.wav")
    for _ in range(2):
        assert await upload(settings, paths, JSON) == 0
    assert len(sandbox.media) == 2


async def test_only_a_few_files_are_under_way_at_once(settings: Settings, tmp_path: Path, sandbox: Sandbox) -> None:
    held = anyio.Event()
    sandbox.faults.add("create", faults.stall(until=held), times=FILES_AT_ONCE)
    paths = tones(tmp_path, *(f"{n}.wav" for n in range(FILES_AT_ONCE + 2)))
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(upload, settings, paths, Wishes(wait=False))
        await until(lambda: sandbox.account.count("create") == FILES_AT_ONCE)
        assert not sandbox.media
        held.set()
    assert len(sandbox.media) == FILES_AT_ONCE + 2


async def test_a_file_that_fails_stops_no_other_and_is_told_and_counted(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    text = tmp_path / "notes.mp3"
    text.write_text("Not a sound.\n")
    (good,) = tones(tmp_path, "good.mp3")
    assert await upload(settings, [str(text), good, str(tmp_path / "none.mp3")], JSON) == 2
    out, err = capsys.readouterr()
    assert json.loads(out)["path"] == good
    assert f"{text}: {text} is not audio: it looks like plain text" in err
    assert f"There is nothing at {tmp_path / 'none.mp3'}" in err
    assert [media.status for media in sandbox.media.values()] == ["done"]


async def test_without_keys_nothing_is_sent(settings: Settings, tmp_path: Path, sandbox: Sandbox) -> None:
    keyless = settings.model_copy(update={"public_key": None, "secret_key": None})
    with pytest.raises(KeysMissingError):
        await upload(keyless, tones(tmp_path, "a.mp3"), JSON)
    assert not sandbox.account.requests


async def test_a_file_uploaded_again_after_success_becomes_a_new_audio(
    settings: Settings, tmp_path: Path, sandbox: Sandbox
) -> None:
    paths = tones(tmp_path, "a.mp3")
    assert [await upload(settings, paths, JSON), await upload(settings, paths, JSON)] == [0, 0]
    assert [media.status for media in sandbox.media.values()] == ["done", "done"]


async def test_what_an_interruption_left_is_gone_on_with_and_told(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    paths = tones(tmp_path, "a.wav")
    sandbox.faults.add("complete", faults.status(429), times=1)
    assert await upload(settings, paths, JSON) == 1
    capsys.readouterr()
    assert await upload(settings, paths, JSON) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["parts_resumed"] == 1
    assert f"a.wav: going on with audio {json.loads(out)['audio_id']}: 1 of 1 parts are there" in err
    assert len(sandbox.media) == 1


async def test_an_audio_that_becomes_no_stream_is_a_failure_that_names_its_status(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    sandbox.faults.add("detail", detail("fail"), times=2)
    assert await upload(settings, tones(tmp_path, "a.wav"), JSON) == 1
    out, err = capsys.readouterr()
    assert out == ""
    assert "could not make a stream of it: the status of audio " in err
    assert "is fail." in err


async def test_a_link_that_was_verified_says_that_it_plays(settings: Settings, tmp_path: Path, capsys: Capture) -> None:
    assert await upload(settings, tones(tmp_path, "a.mp3"), Wishes(verify=True)) == 0
    assert "Plays:    yes: 1 segments, the first of " in capsys.readouterr().out


async def test_a_link_that_does_not_play_is_a_failure_and_still_told(
    tmp_path: Path, settings: Settings, capsys: Capture
) -> None:
    """Guards against an audio that is up, and of which nobody is told the id."""
    # It tells of links, and there is nothing behind them.
    async with Sandbox(tmp_path, transcode=False) as hollow, serve(hollow) as url:
        pointed = settings.model_copy(update={"api_url": url})
        assert await upload(pointed, tones(tmp_path, "a.mp3"), Wishes(verify=True, as_json=True)) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["audio_id"] in hollow.media
    assert "status 404" in err


async def test_to_verify_what_has_no_hls_link_is_a_failure_and_the_link_there_is_is_told(
    settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    """Guards against exit status 0 from --verify where nothing was verified."""
    wishes, options = Wishes(verify=True, as_json=True), UploadOptions(format="dash")
    assert await upload(settings, tones(tmp_path, "a.mp3"), wishes, options) == 1
    out, err = capsys.readouterr()
    assert json.loads(out)["dash_url"].endswith("manifest.mpd")
    assert "HLS" in err


async def test_without_waiting_the_next_step_is_told_in_place_of_the_link(
    settings: Settings, tmp_path: Path, sandbox: Sandbox, capsys: Capture
) -> None:
    sandbox.faults.add("detail", detail("transcoding"))
    assert await upload(settings, tones(tmp_path, "a.mp3"), Wishes(wait=False)) == 0
    assert capsys.readouterr().out.splitlines() == [
        "Title:    a",
        "Audio ID: id-1",
        "Status:   transcoding",
        "Next:     Not ready yet: `audio-upload-aioz-stream link id-1 --wait` waits for the link.",
        "",
    ]


async def test_a_result_in_json_has_the_names_that_the_four_tools_have(
    settings: Settings, tmp_path: Path, capsys: Capture
) -> None:
    await upload(settings, tones(tmp_path, "a.mp3"), JSON)
    out, err = capsys.readouterr()
    assert set(json.loads(out)) == {
        "audio_id", "title", "mode", "state", "path", "size_bytes", "sent_bytes", "parts_total", "parts_done",
        "parts_resumed", "elapsed_seconds", "bytes_per_second", "status", "ready", "hls_url", "dash_url",
        "hls_player_url", "dash_player_url", "duration_seconds", "qualities", "next_step",
    }  # fmt: skip
    assert PUBLIC_KEY not in out + err
    assert SECRET_KEY not in out + err


def media(**more: object) -> Media:
    return Media.model_validate({"id": "id-1", "title": "T", "status": "done", **more})


def test_in_words_a_link_has_a_line_for_each_thing_there_is_and_none_for_what_is_not() -> None:
    links = {"hls_url": "https://x/h.m3u8?token=1", "hls_player_url": "https://x/p"}
    assert in_words(link_of(media(assets=links, duration=1.25)), Playback(3, 12_345)).splitlines() == [
        "Title:    T, 1.2 s",
        "Audio ID: id-1",
        "Status:   done",
        "HLS:      https://x/h.m3u8?token=1",
        "Player:   https://x/p",
        "Plays:    yes: 3 segments, the first of 12,345 bytes",
    ]


def test_in_words_a_dash_link_has_its_own_player() -> None:
    links = {"dash_url": "https://x/d.mpd", "dash_player_url": "https://x/p"}
    assert in_words(link_of(media(assets=links))).splitlines()[-2:] == [
        "DASH:     https://x/d.mpd",
        "Player:   https://x/p",
    ]


@pytest.mark.parametrize(
    ("status", "next_step"), [("fail", "There will be no link"), ("transcoding", "Not ready yet: `"), ("odd", "Not re")]
)
def test_in_words_an_audio_that_is_not_ready_has_its_next_step(status: str, next_step: str) -> None:
    assert f"\nNext:     {next_step}" in in_words(link_of(media(status=status)))


def test_in_words_what_the_api_says_is_shown_harmlessly() -> None:
    told = in_words(link_of(media(title="a\x1b[2J\nStatus:   done", status="x\x07\u202ey")))
    assert told.splitlines()[:3] == ["Title:    a [2J Status: done", "Audio ID: id-1", "Status:   x y"]
