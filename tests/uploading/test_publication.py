"""A file put up from beginning to end, and gone on with after whatever stopped it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import anyio
import pytest

from aioz_stream_audio.errors import KeysRefusedError, PartError, StatusError, TranscodingError
from aioz_stream_audio.models import AudioConfig, CreateAudio, Media, Metadata, Quality
from aioz_stream_audio.publication import Unwatched, link_of, publish
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox, faults, serve
from aioz_stream_audio.uploads import Uploads, open_uploads
from audio_files import MIB, make_audio, make_large_audio

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.results import PublishedAudio
    from aioz_stream_audio.sandbox import Fault
    from aioz_stream_audio.sandbox.faults import FaultyCall
    from aioz_stream_audio.settings import Keys, Settings
    from aioz_stream_audio.source import Source
    from aioz_stream_audio.transfer import Progress

pytestmark = pytest.mark.anyio

AUDIO = CreateAudio(title="My song")


@pytest.fixture
def parallel_parts() -> int:
    return 1


@pytest.fixture
async def source(uploads: Uploads, tmp_path: Path) -> Source:
    return await uploads.find(str(make_large_audio(tmp_path / "song.wav", 4 * MIB)))


class Notes(Unwatched):
    """A watcher that notes what it hears."""

    def __init__(self) -> None:
        self.resumptions: list[tuple[str, int, int]] = []
        self.progress: list[Progress] = []
        self.media: list[Media] = []

    async def resumed(self, audio_id: str, parts_done: int, parts_total: int) -> None:
        self.resumptions.append((audio_id, parts_done, parts_total))

    async def uploading(self, progress: Progress) -> None:
        self.progress.append(progress)

    async def status(self, media: Media) -> None:
        self.media.append(media)


async def run(
    uploads: Uploads,
    keys: Keys,
    source: Source,
    audio: CreateAudio = AUDIO,
    *,
    wait: bool = True,
    notes: Notes | None = None,
) -> PublishedAudio:
    with anyio.fail_after(90):
        return await publish(uploads, keys, source, audio, wait=wait, watcher=notes)


async def interrupt(settings: Settings, keys: Keys, sandbox: Sandbox, source: Source) -> str:
    """Begin a publication, and close the uploads once two parts are there; gives its audio object."""
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), start=2 * MIB)
    with anyio.fail_after(90):
        async with open_uploads(settings) as uploads, anyio.create_task_group() as tasks:
            tasks.start_soon(publish, uploads, keys, source, AUDIO)
            while sandbox.account.count("part") < 3:  # noqa: ASYNC110 - there is no event
                await anyio.sleep(0.005)
            tasks.cancel_scope.cancel()
    released.set()
    return sandbox.account.entries("create")[0].media_id


async def delete(uploads: Uploads, audio_id: str) -> None:
    """Delete an audio object as its owner does, in a browser."""
    headers = {"stream-public-key": PUBLIC_KEY, "stream-secret-key": SECRET_KEY}
    answer = await uploads.client.delete(f"{uploads.settings.api_url}/{audio_id}", headers=headers)
    assert answer.is_success


@pytest.mark.parametrize(
    ("audio", "mode", "names"),
    [
        (AUDIO, "default", {("standard", "hls", 128_000)}),
        (
            CreateAudio(
                title="My song",
                tags=["one", "two"],
                metadata=[Metadata(key="k", value="v")],
                qualities=[
                    Quality(resolution="good", type="hls", audio_config=AudioConfig(bitrate=96_000)),
                    Quality(resolution="highest", type="dash"),
                ],
            ),
            "custom",
            {("good", "hls", 96_000), ("highest", "dash", 320_000)},
        ),
    ],
    ids=["default", "custom"],
)
async def test_a_file_becomes_a_stream(
    settings: Settings, keys: Keys, tmp_path: Path, audio: CreateAudio, mode: str, names: set[tuple[str, str, int]]
) -> None:
    (tmp_path / "transcoding").mkdir()
    path = make_audio(tmp_path / "song.mp3")
    notes = Notes()
    async with Sandbox(tmp_path / "transcoding") as real, serve(real) as url:
        async with open_uploads(settings.model_copy(update={"api_url": url})) as uploads:
            result = await run(uploads, keys, await uploads.find(str(path)), audio, notes=notes)
            assert result.hls_url is not None
            playlist = await uploads.client.get(result.hls_url)
        received = real.received(result.audio_id).read_bytes()
    assert playlist.text.startswith("#EXTM3U")
    assert received == path.read_bytes()
    assert (result.ready, result.status, result.mode, result.title, result.state) == (
        True,
        "done",
        mode,
        "My song",
        "uploaded",
    )
    assert (result.path, result.size_bytes, result.sent_bytes) == (str(path), len(received), len(received))
    assert {(quality.name, quality.type, quality.bitrate) for quality in result.qualities} == names
    assert (result.dash_url is not None) is (mode == "custom")
    assert result.duration_seconds == pytest.approx(1, abs=0.2)
    assert "Done" in result.next_step
    assert notes.resumptions == []
    assert notes.progress[-1].state == "uploaded"
    assert {media.id for media in notes.media} == {result.audio_id}
    assert notes.media[-1].ready


async def test_nobody_need_watch(uploads: Uploads, keys: Keys, source: Source) -> None:
    assert (await run(uploads, keys, source)).ready


async def test_run_again_after_an_interruption_the_same_audio_object_is_gone_on_with(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, source: Source
) -> None:
    begun = await interrupt(settings, keys, sandbox, source)
    notes = Notes()
    result = await run(uploads, keys, source, notes=notes)
    assert (result.audio_id, result.parts_resumed, result.parts_done) == (begun, 2, 4)
    assert notes.resumptions == [(begun, 2, 4)]
    assert sandbox.account.count("create") == 1
    assert sandbox.received(begun).read_bytes() == source.path.read_bytes()


async def test_another_request_for_the_same_file_is_another_audio_object(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, source: Source
) -> None:
    begun = await interrupt(settings, keys, sandbox, source)
    result = await run(uploads, keys, source, CreateAudio(title="Another title"))
    assert result.audio_id != begun
    assert result.parts_resumed == 0


async def test_interrupted_while_it_is_transcoded_it_is_gone_on_with_and_complete_is_not_sent_again(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    sandbox.faults.add("detail", faults.status(401))
    with pytest.raises(KeysRefusedError):
        await run(uploads, keys, source)
    result = await run(uploads, keys, source)
    assert result.ready
    assert sandbox.account.count("create") == sandbox.account.count("complete") == 1
    assert sandbox.account.count("part") == 4


async def test_published_once_more_the_same_file_becomes_another_audio_object(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    first, second = await run(uploads, keys, source), await run(uploads, keys, source)
    assert first.audio_id != second.audio_id
    assert sandbox.account.count("create") == 2


async def test_an_interrupted_audio_object_that_the_api_no_longer_knows_is_begun_anew(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, source: Source
) -> None:
    begun = await interrupt(settings, keys, sandbox, source)
    del sandbox.media[begun]
    result = await run(uploads, keys, source)
    assert (result.ready, result.parts_resumed) == (True, 0)
    assert result.audio_id != begun
    assert await uploads.journal.get(begun) is None
    assert sandbox.received(result.audio_id).read_bytes() == source.path.read_bytes()


async def test_an_interrupted_audio_object_that_was_deleted_is_begun_anew(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, source: Source
) -> None:
    """Guards against "Media is deleted." on every run of a whole day: AIOZ Stream says so with a 400, not a 404."""
    begun = await interrupt(settings, keys, sandbox, source)
    await delete(uploads, begun)
    result = await run(uploads, keys, source)
    assert (result.ready, result.parts_resumed) == (True, 0)
    assert result.audio_id != begun


@pytest.mark.parametrize(
    ("call", "fault", "refusal"),
    [
        ("complete", faults.status(429, retry_after="1"), StatusError),
        ("detail", faults.status(401), KeysRefusedError),
    ],
    ids=["before complete", "after complete"],
)
async def test_an_audio_object_that_was_deleted_with_every_part_there_is_begun_anew(
    uploads: Uploads,
    keys: Keys,
    sandbox: Sandbox,
    source: Source,
    call: FaultyCall,
    fault: Fault,
    refusal: type[StatusError],
) -> None:
    """Guards against the same where every part had arrived."""
    sandbox.faults.add(call, fault)
    with pytest.raises(refusal):
        await run(uploads, keys, source)
    begun = sandbox.account.entries("create")[0].media_id
    await delete(uploads, begun)
    result = await run(uploads, keys, source)
    assert result.ready
    assert result.audio_id != begun


async def test_an_interrupted_upload_that_fails_for_another_reason_stays(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, source: Source
) -> None:
    begun = await interrupt(settings, keys, sandbox, source)
    sandbox.faults.add("part", faults.status(403))
    with pytest.raises(PartError):
        await run(uploads, keys, source)
    result = await run(uploads, keys, source)
    assert (result.audio_id, result.parts_resumed) == (begun, 2)


async def test_an_audio_object_that_cannot_be_created_sends_nothing(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    sandbox.faults.add("create", faults.status(401))
    with pytest.raises(KeysRefusedError, match="No audio object was created"):
        await run(uploads, keys, source)
    assert sandbox.account.count("part") == 0


async def test_create_is_not_sent_again_where_it_may_have_arrived(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    sandbox.faults.add("create", faults.done_then(faults.status(502)))
    with pytest.raises(StatusError):
        await run(uploads, keys, source)
    assert sandbox.account.count("create") == 1


class Spoiler(Notes):
    """A watcher that has the audio fail as soon as transcoding began."""

    def __init__(self, sandbox: Sandbox) -> None:
        super().__init__()
        self._sandbox = sandbox

    async def status(self, media: Media) -> None:
        self._sandbox.media[media.id].turn("fail")


async def test_an_audio_that_cannot_be_transcoded_is_an_error_and_the_next_run_begins_anew(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    with pytest.raises(
        TranscodingError, match=r"has the whole of song\.wav, but could not make a stream of it"
    ) as caught:
        await run(uploads, keys, source, notes=Spoiler(sandbox))
    assert caught.value.status == "fail"
    result = await run(uploads, keys, source)
    assert result.ready
    assert result.audio_id != caught.value.audio_id


async def test_an_audio_that_is_refused_at_complete_is_an_error_and_the_next_run_begins_anew(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    """Guards against a second run that only repeats the failure: what AIOZ Stream judged, it does not judge again."""
    sandbox.faults.add("complete", faults.status(400, "Not enough balance, media deleted."))
    with pytest.raises(StatusError, match="Not enough balance"):
        await run(uploads, keys, source)
    judged = sandbox.account.entries("create")[0].media_id
    sandbox.media[judged].turn("deleted")
    result = await run(uploads, keys, source)
    assert result.ready
    assert result.audio_id != judged


async def test_an_audio_that_is_done_without_a_link_is_an_error_and_the_next_run_asks_again(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Linkless(Notes):
        """A watcher that has AIOZ Stream keep the link to itself for three reads."""

        async def uploading(self, progress: Progress) -> None:
            if progress.state == "uploaded":
                body = f'{{"status": "success", "data": {{"id": "{progress.audio_id}", "status": "done"}}}}'
                sandbox.faults.add("detail", faults.raw(200, "application/json", body.encode()), times=3)

    monkeypatch.setattr("aioz_stream_audio.transcoding._ODD_SECONDS_MAX", 0.0)
    with pytest.raises(TranscodingError, match="gives no link to it") as caught:
        await run(uploads, keys, source, notes=Linkless())
    assert not sandbox.faults.pending
    result = await run(uploads, keys, source)
    assert (result.ready, result.audio_id) == (True, caught.value.audio_id)


async def test_a_read_that_is_refused_after_complete_makes_no_second_audio(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    """What AIOZ Stream judges for good is a complete, not a question about it."""
    sandbox.faults.add("detail", faults.status(400, "Invalid request."))
    with pytest.raises(StatusError, match="detail call"):
        await run(uploads, keys, source)
    result = await run(uploads, keys, source)
    assert result.ready
    assert sandbox.account.count("create") == 1


async def test_a_complete_that_is_to_wait_for_other_uploads_makes_no_second_audio(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    sandbox.faults.add("complete", faults.status(400, "Too many concurrent media uploading."))
    with pytest.raises(StatusError, match="Wait for other uploads"):
        await run(uploads, keys, source)
    result = await run(uploads, keys, source)
    assert result.ready
    assert (sandbox.account.count("create"), sandbox.account.count("part")) == (1, 4)


async def test_without_a_wait_a_stream_that_is_not_ready_is_no_error(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    class Transcoding(Notes):
        """A watcher that has the audio take its time."""

        async def uploading(self, progress: Progress) -> None:
            if progress.state == "uploaded":
                body = f'{{"status": "success", "data": {{"id": "{progress.audio_id}", "status": "transcoding"}}}}'
                sandbox.faults.add("detail", faults.raw(200, "application/json", body.encode()))

    result = await run(uploads, keys, source, wait=False, notes=Transcoding())
    assert (result.status, result.ready, result.hls_url) == ("transcoding", False, None)
    assert f"link {result.audio_id} --wait" in result.next_step
    assert sandbox.account.count("detail") == 1


async def test_without_a_wait_a_failure_that_is_known_already_is_an_error(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, source: Source
) -> None:
    class Broken(Notes):
        """A watcher that has the audio break on the way."""

        async def uploading(self, progress: Progress) -> None:
            if progress.state == "uploaded":
                body = f'{{"status": "success", "data": {{"id": "{progress.audio_id}", "status": "fail"}}}}'
                sandbox.faults.add("detail", faults.raw(200, "application/json", body.encode()))

    with pytest.raises(TranscodingError):
        await run(uploads, keys, source, wait=False, notes=Broken())


@pytest.mark.parametrize(
    ("status", "hls", "said"),
    [
        ("done", "https://cdn.example/master.m3u8", "Done: hls_url plays"),
        ("done", "", "It is done, but AIOZ Stream gives no link to it"),
        ("fail", "", "There will be no link"),
        ("deleted", "", "There will be no link"),
        ("transcoding", "", "`audio-upload-aioz-stream link a --wait` waits"),
    ],
)
def test_a_link_says_what_to_do_next(status: str, hls: str, said: str) -> None:
    link = link_of(Media(id="a", status=status, hls=hls))
    assert said in link.next_step
    assert link.hls_url == (hls or None)
