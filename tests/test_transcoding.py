"""From parts to a stream: complete is sent once ever, and what comes of it is read."""

from __future__ import annotations

import asyncio
import math
import selectors
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from pydantic import SecretStr

from aioz_stream_audio.api import AiozStream
from aioz_stream_audio.errors import (
    AudioNotFoundError,
    KeysRefusedError,
    NotConnectedError,
    PartError,
    PartsMissingError,
    StatusError,
)
from aioz_stream_audio.models import CreateAudio
from aioz_stream_audio.sandbox import Drop, Fault, Sandbox, Stall, faults
from aioz_stream_audio.settings import Keys
from aioz_stream_audio.transcoding import complete, read, wait_until_ready
from aioz_stream_audio.uploads import Uploads, open_uploads
from audio_files import MIB, make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
    from pathlib import Path

    from aioz_stream_audio.journal import Journal
    from aioz_stream_audio.models import Media
    from aioz_stream_audio.settings import Settings

pytestmark = pytest.mark.anyio

ID = "6f1c2d3e-0000-4000-8000-000000000001"
KEYS = Keys(SecretStr("public"), SecretStr("secret"))
LINK = "https://cdn.example/master.m3u8"


class _JumpingSelector(selectors.SelectSelector):
    """A selector that, where there is nothing to do but wait, takes the time as passed."""

    jumped = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0 if timeout is not None else None)
        if not ready and timeout is not None:
            self.jumped += timeout
        return ready


class JumpingLoop(asyncio.SelectorEventLoop):
    """An event loop whose clock jumps to whatever is waited for. For tests without threads and sockets."""

    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return super().time() + self._jumping.jumped


without_waiting = pytest.mark.parametrize(
    "anyio_backend", [("asyncio", {"loop_factory": JumpingLoop})], ids=["jumping"]
)


@pytest.fixture
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("sandbox"), transcode=False) as running:
        yield running


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return settings.model_copy(update={"part_size_mib": 1, "parallel_parts": 1})


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return settings.keys()


@pytest.fixture
async def uploads(settings: Settings) -> AsyncIterator[Uploads]:
    async with open_uploads(settings) as opened:
        yield opened


@pytest.fixture
def api(uploads: Uploads, keys: Keys) -> AiozStream:
    return uploads.api(keys)


@pytest.fixture
def journal(uploads: Uploads) -> Journal:
    return uploads.journal


@pytest.fixture
async def audio_id(api: AiozStream) -> str:
    return (await api.create(CreateAudio(title="t"))).id


@pytest.fixture
async def uploaded(uploads: Uploads, keys: Keys, audio_id: str, tmp_path: Path) -> str:
    """Give an audio whose parts have all arrived."""
    source = await uploads.find(str(make_large_audio(tmp_path / "song.wav", 2 * MIB)))
    with anyio.fail_after(90):
        await uploads.upload(keys, audio_id, source, wait_seconds=20)
    return audio_id


def scripted(answers: Sequence[httpx2.Response]) -> tuple[AiozStream, Callable[[], int]]:
    """Give an API that gives these answers, the last one for ever, and the number of those it gave."""
    given = 0

    def handler(_: httpx2.Request) -> httpx2.Response:
        nonlocal given
        given += 1
        return answers[min(given, len(answers)) - 1]

    transport = httpx2.MockTransport(handler)
    return AiozStream(httpx2.AsyncClient(transport=transport), "https://api.example/api/videos", KEYS), lambda: given


def detail(status: str, hls_url: str = "") -> httpx2.Response:
    data = {"id": ID, "title": "t", "status": status, "assets": {"hls_url": hls_url} if hls_url else None}
    return httpx2.Response(200, json={"status": "success", "data": data})


async def test_complete_is_sent_and_the_audio_given_as_it_is_then(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    media = await complete(api, journal, uploaded)
    assert (media.id, media.status) == (uploaded, "done")
    assert sandbox.account.count("complete") == 1


async def test_complete_is_refused_while_parts_are_missing(
    uploads: Uploads, keys: Keys, api: AiozStream, sandbox: Sandbox, audio_id: str, tmp_path: Path
) -> None:
    source = await uploads.find(str(make_large_audio(tmp_path / "song.wav", 3 * MIB)))
    sandbox.faults.add("part", faults.status(403), start=2 * MIB)
    with pytest.raises(PartError):
        await uploads.upload(keys, audio_id, source, wait_seconds=20)
    with pytest.raises(PartsMissingError, match=r"^Only 2 of 3 parts of audio .* complete was not sent") as caught:
        await complete(api, uploads.journal, audio_id)
    assert (caught.value.parts_done, caught.value.parts_total, caught.value.audio_id) == (2, 3, audio_id)
    assert sandbox.account.count("complete") == 0


async def test_asked_again_complete_is_not_sent_again(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    for _ in range(3):
        assert (await complete(api, journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 1


async def test_asked_by_several_at_once_complete_is_sent_once(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for _ in range(5):
                tasks.start_soon(complete, api, journal, uploaded)
    assert sandbox.account.count("complete") == 1
    assert sandbox.media[uploaded].status == "done"


async def test_after_a_restart_complete_is_not_sent_again(
    api: AiozStream, journal: Journal, keys: Keys, settings: Settings, sandbox: Sandbox, uploaded: str
) -> None:
    await complete(api, journal, uploaded)
    async with open_uploads(settings) as later:
        assert (await complete(later.api(keys), later.journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 1


UNKNOWN = {
    "dropped": faults.done_then(Fault(Drop())),
    "408": faults.done_then(faults.status(408)),
    "500": faults.done_then(faults.status(500)),
    "502 with a page of a proxy": faults.done_then(faults.raw(502, "text/html", b"<h1>Bad gateway</h1>")),
    "something else": faults.done_then(faults.raw(200, "text/html", b"<h1>Please log in</h1>")),
    "empty": faults.empty(),
    "broken off": faults.truncated_json(),
    "cut": faults.cut(),
}


@pytest.mark.parametrize("fault", UNKNOWN.values(), ids=UNKNOWN.keys())
async def test_where_nobody_knows_what_complete_did_the_audio_tells(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str, fault: Fault
) -> None:
    sandbox.faults.add("complete", fault)
    for _ in range(2):
        assert (await complete(api, journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 1


async def test_where_complete_was_lost_it_is_not_sent_again_and_the_status_says_so(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    sandbox.faults.add("complete", faults.reset())
    for _ in range(2):
        assert (await complete(api, journal, uploaded)).status == "uploading"
    assert sandbox.account.count("complete") == 1


@pytest.mark.parametrize(("status", "kind"), [(401, KeysRefusedError), (404, AudioNotFoundError), (429, StatusError)])
async def test_a_complete_that_was_refused_before_it_did_anything_can_be_sent_later(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str, status: int, kind: type[StatusError]
) -> None:
    sandbox.faults.add("complete", faults.status(status, retry_after="1"))
    with pytest.raises(kind):
        await complete(api, journal, uploaded)
    assert (await complete(api, journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 2


async def test_a_complete_that_never_left_can_be_sent_later(
    api: AiozStream, journal: Journal, keys: Keys, sandbox: Sandbox, uploaded: str
) -> None:
    def refuse(_: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectError("refused")

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(refuse)) as client:
        with pytest.raises(NotConnectedError):
            await complete(AiozStream(client, api.api_url, keys), journal, uploaded)
    assert (await complete(api, journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 1


async def cancelled(task: Callable[[], Coroutine[None, None, object]], begun: anyio.Event) -> None:
    """Run ``task``, and cancel it once it has begun what it is about."""
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(task)
            await begun.wait()
            tasks.cancel_scope.cancel()


async def test_a_complete_that_is_cancelled_before_it_leaves_can_be_sent_later(
    api: AiozStream, journal: Journal, keys: Keys, sandbox: Sandbox, uploaded: str
) -> None:
    """Guards against an upload that nobody can complete any more: the journal says sent, and nothing was."""
    connecting = anyio.Event()

    async def connect(_: httpx2.Request) -> httpx2.Response:
        connecting.set()
        await anyio.sleep_forever()
        raise AssertionError

    async with httpx2.AsyncClient(transport=httpx2.MockTransport(connect)) as client:
        slow = AiozStream(client, api.api_url, keys)
        await cancelled(lambda: complete(slow, journal, uploaded), connecting)
    assert (await complete(api, journal, uploaded)).status == "done"
    assert sandbox.account.count("complete") == 1


async def test_a_complete_that_is_cancelled_while_it_is_noted_can_be_sent_later(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted = anyio.Event()
    claim = journal.claim_complete

    async def claim_and_be_cancelled(audio_id: str) -> bool:
        with anyio.CancelScope(shield=True):
            claimed = await claim(audio_id)
            noted.set()
            await anyio.sleep(0.01)
        return claimed

    with monkeypatch.context() as patched:
        patched.setattr(journal, "claim_complete", claim_and_be_cancelled)
        await cancelled(lambda: complete(api, journal, uploaded), noted)
    assert sandbox.account.count("complete") == 0
    assert (await complete(api, journal, uploaded)).status == "done"


async def test_a_complete_that_is_cancelled_after_it_left_is_not_sent_again(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    arrived, released = anyio.Event(), anyio.Event()

    @dataclass(frozen=True)
    class Announced(Stall):
        """A stall that says when it begins."""

        async def wait(self) -> None:
            arrived.set()
            await super().wait()

    sandbox.faults.add("complete", Fault(Announced(until=released)))
    await cancelled(lambda: complete(api, journal, uploaded), arrived)
    released.set()
    await complete(api, journal, uploaded)
    assert sandbox.account.count("complete") == 1


@pytest.mark.parametrize(
    "fault",
    [
        faults.redirect("https://elsewhere.example/"),
        faults.raw(413, "text/html", b"<h1>Too large</h1>"),
        faults.status(400, "Too many concurrent media uploading."),
    ],
    ids=["redirect", "413", "too many at once"],
)
async def test_a_complete_that_is_to_come_back_later_can(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str, fault: Fault
) -> None:
    sandbox.faults.add("complete", fault)
    with pytest.raises(StatusError):
        await complete(api, journal, uploaded)
    assert (await complete(api, journal, uploaded)).status == "done"


async def test_a_complete_that_was_judged_is_final(
    api: AiozStream, journal: Journal, sandbox: Sandbox, uploaded: str
) -> None:
    sandbox.faults.add("complete", faults.status(400, "Invalid media."))
    with pytest.raises(StatusError, match=r"Invalid media\."):
        await complete(api, journal, uploaded)
    sandbox.media[uploaded].turn("fail")
    assert (await complete(api, journal, uploaded)).status == "fail"
    assert sandbox.account.count("complete") == 1


async def test_complete_of_an_audio_that_got_nothing_from_here_is_refused(
    api: AiozStream, journal: Journal, sandbox: Sandbox, audio_id: str
) -> None:
    with pytest.raises(PartsMissingError, match=r"No part of audio .* was sent from here") as caught:
        await complete(api, journal, audio_id)
    assert (caught.value.parts_done, caught.value.parts_total) == (0, 0)
    assert sandbox.account.count("complete") == 0


async def test_complete_of_an_audio_that_was_completed_elsewhere_tells_its_status(
    api: AiozStream, journal: Journal, sandbox: Sandbox, audio_id: str
) -> None:
    sandbox.media[audio_id].turn("transcoding")
    assert (await complete(api, journal, audio_id)).status == "transcoding"
    assert sandbox.account.count("complete") == 0


async def test_a_read_is_tried_again_on_a_passing_fault(api: AiozStream, sandbox: Sandbox, audio_id: str) -> None:
    for fault in (faults.status(500), faults.reset(), faults.status(429, retry_after="10")):
        sandbox.faults.add("detail", fault)
    assert (await read(api, audio_id)).id == audio_id
    assert sandbox.account.count("detail") == 4


async def test_a_read_that_keeps_failing_is_an_error(api: AiozStream, sandbox: Sandbox, audio_id: str) -> None:
    sandbox.faults.add("detail", faults.status(502), times=4)
    with pytest.raises(StatusError):
        await read(api, audio_id)
    assert not sandbox.faults.pending


@pytest.mark.parametrize(
    "fault",
    [faults.status(401), faults.status(404), faults.status(429, retry_after="11")],
    ids=["401", "404", "429 that asks for too long"],
)
async def test_a_read_that_is_refused_is_not_tried_again(
    api: AiozStream, sandbox: Sandbox, audio_id: str, fault: Fault
) -> None:
    sandbox.faults.add("detail", fault)
    with pytest.raises(StatusError):
        await read(api, audio_id)
    assert sandbox.account.count("detail") == 1


async def waited(api: AiozStream, seconds: float) -> Media:
    with anyio.fail_after(3600):
        return await wait_until_ready(api, ID, seconds)


@without_waiting
async def test_a_wait_ends_when_the_audio_is_ready() -> None:
    api, given = scripted([detail("transcoding"), detail("transcoding", LINK), detail("done", LINK)])
    media = await waited(api, math.inf)
    assert (media.ready, media.hls_url) == (True, LINK)
    assert given() == 3


@without_waiting
async def test_an_audio_that_is_done_without_a_link_is_waited_for() -> None:
    api, given = scripted([detail("done"), detail("done"), detail("done", LINK)])
    assert (await waited(api, math.inf)).ready
    assert given() == 3


@without_waiting
async def test_a_wait_gives_up_on_an_audio_that_is_done_and_gets_no_link() -> None:
    api, _ = scripted([*[detail("transcoding")] * 50, detail("done")])
    before = anyio.current_time()
    media = await waited(api, math.inf)
    assert (media.done, media.ready) == (True, False)
    assert 300 < anyio.current_time() - before < 500


@without_waiting
@pytest.mark.parametrize("status", ["fail", "deleted", "deleting"])
async def test_a_wait_ends_when_there_will_be_no_stream(status: str) -> None:
    api, given = scripted([detail("transcoding"), detail(status)])
    assert (await waited(api, math.inf)).status == status
    assert given() == 2


@without_waiting
async def test_who_waits_for_ever_sits_out_a_network_that_is_gone_for_a_while() -> None:
    gone = httpx2.Response(503, headers={"Retry-After": "60"})
    api, given = scripted([detail("transcoding"), *[gone] * 4, detail("done", LINK)])
    assert (await waited(api, math.inf)).ready
    assert given() == 6
    with pytest.raises(StatusError):
        await waited(scripted([gone, detail("done", LINK)])[0], 55)


@without_waiting
async def test_a_wait_ends_after_as_long_as_it_may_take() -> None:
    api, given = scripted([detail("transcoding")])
    before = anyio.current_time()
    assert (await waited(api, 55)).status == "transcoding"
    assert anyio.current_time() - before == pytest.approx(55, abs=1)
    # It is polled with back-off, so that a long wait stays below the limit of reads.
    assert 5 < given() < 20


@without_waiting
async def test_without_a_wait_the_audio_is_read_once() -> None:
    api, given = scripted([detail("transcoding")])
    assert (await waited(api, 0)).status == "transcoding"
    assert given() == 1


@without_waiting
@pytest.mark.parametrize("status", ["new", "uploading"])
async def test_a_wait_gives_up_on_an_audio_that_was_never_completed(status: str) -> None:
    api, _ = scripted([detail(status)])
    assert (await waited(api, math.inf)).status == status


@without_waiting
async def test_an_audio_may_say_for_a_moment_that_it_is_empty() -> None:
    api, _ = scripted([detail("uploading"), detail("uploading"), detail("transcoding"), detail("done", LINK)])
    assert (await waited(api, math.inf)).ready


@without_waiting
async def test_a_wait_outlives_a_passing_fault_and_ends_with_the_audio() -> None:
    api, _ = scripted([detail("transcoding"), httpx2.Response(502), detail("done", LINK)])
    assert (await waited(api, math.inf)).ready
    api, _ = scripted([detail("transcoding"), httpx2.Response(404)])
    with pytest.raises(AudioNotFoundError):
        await waited(api, math.inf)
