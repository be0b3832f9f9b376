"""Every fault against every call, each with what comes of it and with the sandbox's account afterwards.

A row reads: when ``call`` meets ``fault`` once, ``outcome`` is what whoever uploads sees. Whatever it is, the bytes
that arrived are the bytes on disk, complete was sent once at the most, and no second audio object was made.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import anyio
import httpx2
import pytest

from aioz_stream_audio import CreateAudio, open_uploads
from aioz_stream_audio.errors import AnswerError, ApiError, NoAnswerError, NotConnectedError, PartError, StatusError
from aioz_stream_audio.sandbox import Answer, Drop, Fault, Sandbox, Stall, faults, serve
from aioz_stream_audio.transcoding import complete, read
from audio_files import make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aioz_stream_audio.sandbox.faults import FaultyCall
    from aioz_stream_audio.settings import Settings
    from aioz_stream_audio.source import Source
    from aioz_stream_audio.uploads import Uploads

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
# Nothing listens there: it is reserved (RFC 6335, section 6), and on this machine.
NOWHERE = "http://127.0.0.1:1"
# How long a call may be silent here; a stalled one is silent for ever.
SILENCE = 2.0

Where = Literal["nowhere", "tls"]
Struck = Fault | Where

HTML = b"<html><body><h1>Bad gateway</h1></body></html>"
FAULTS: dict[str, Struck] = {
    "connection refused": "nowhere",
    "TLS failure": "tls",
    "reset before": Fault(Drop()),
    "reset within": Fault(Drop(), "within", 1000),
    "reset after": Fault(Drop(), "after"),
    "stall before": Fault(Stall(math.inf)),
    "stall after": Fault(Stall(math.inf), "after"),
    "429": faults.status(429, "Too many requests. Please wait 1 seconds before retrying."),
    "429 with a header": faults.status(429, "Too many requests.", retry_after="0"),
    "500": faults.status(500),
    "500 after": faults.done_then(faults.status(500)),
    "502 with HTML": faults.raw(502, "text/html", HTML),
    "503": faults.status(503, retry_after="0"),
    "truncated JSON": faults.truncated_json(),
    "wrong JSON": faults.wrong_json(),
    "empty 200": faults.empty(),
    "HTML 200": faults.raw(200, "text/html", HTML),
    "File corrupted.": faults.corrupted(),
    "400": faults.status(400, "Invalid media."),
    "401": faults.status(401, "The api key is expired."),
    "redirect to another host": faults.redirect("http://127.0.0.2:1/elsewhere"),
}

# What each call makes of each fault. "done": it came out right, without anybody's doing. An error's class: that error,
# and the same again comes out right, or (create) may be asked for anew.
REFUSED = {"400", "401", "redirect to another host"}
UNREACHED = {"connection refused", "TLS failure"}
UNANSWERED = {"reset before", "reset within", "reset after", "stall before", "stall after"}
NONSENSE = {"truncated JSON", "wrong JSON", "empty 200", "HTML 200"}


def outcome(call: FaultyCall, fault: str) -> type[Exception] | None:
    """Say what is seen of ``fault`` at ``call``: an error, or None where it comes out right."""
    if call in {"part", "detail"}:
        if fault in REFUSED:
            return PartError if call == "part" else StatusError
        return None
    if fault in UNREACHED:
        return NotConnectedError
    if call == "complete":
        # Where it is not known what came of it, the audio object is read.
        return None if fault in UNANSWERED | NONSENSE | {"500", "500 after", "502 with HTML", "503"} else StatusError
    if fault in UNANSWERED:
        return NoAnswerError
    return AnswerError if fault in NONSENSE else StatusError


def rows() -> list[tuple[FaultyCall, str]]:
    """Give the rows; only a call with a body can be struck within it, and only a part be corrupt."""
    calls: tuple[FaultyCall, ...] = ("create", "part", "complete", "detail")
    return [
        (call, fault)
        for call in calls
        for fault in FAULTS
        if not (fault == "reset within" and call not in {"create", "part"})
        if not (fault == "File corrupted." and call != "part")
    ]


class Detour(httpx2.AsyncBaseTransport):
    """Sends the next request of one call to where nobody listens, or where nobody speaks TLS."""

    def __init__(self, call: FaultyCall, where: Where) -> None:
        self._call = call
        self._where: Where | None = where
        self._way = httpx2.AsyncHTTPTransport()

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._where is not None and call_of(request) == self._call:
            origin = NOWHERE if self._where == "nowhere" else f"https://127.0.0.1:{request.url.port}"
            request.url = httpx2.URL(origin).join(request.url.path)
            self._where = None
        return await self._way.handle_async_request(request)

    async def aclose(self) -> None:
        await self._way.aclose()


def call_of(request: httpx2.Request) -> str:
    last = request.url.path.rsplit("/", 1)[-1]
    return last if last in {"create", "part", "complete"} else "detail"


@dataclass
class Bench:
    """What a row needs: the uploads under test, and the sandbox they go to."""

    uploads: Uploads
    sandbox: Sandbox
    source: Source

    def strike(self, call: FaultyCall, fault: Struck) -> None:
        if isinstance(fault, Fault):
            self.sandbox.faults.add(call, fault)
        transport = httpx2.AsyncHTTPTransport() if isinstance(fault, Fault) else Detour(call, fault)
        self.uploads.client = httpx2.AsyncClient(transport=transport, timeout=SILENCE)

    async def create(self) -> str:
        api = self.uploads.api(self.uploads.settings.keys())
        return (await api.create(CreateAudio(title="t"))).id

    async def send(self, audio_id: str) -> None:
        progress = await self.uploads.upload(self.uploads.settings.keys(), audio_id, self.source, wait_seconds=math.inf)
        assert progress.state == "uploaded"

    async def complete(self, audio_id: str) -> None:
        await complete(self.uploads.api(self.uploads.settings.keys()), self.uploads.journal, audio_id)

    async def detail(self, audio_id: str) -> None:
        await read(self.uploads.api(self.uploads.settings.keys()), audio_id)

    def check_account(self, audio_id: str) -> None:
        """Nothing was done twice, and nothing is missing."""
        assert self.sandbox.account.count("complete", audio_id) <= 1
        parts = {part.index: part for part in self.sandbox.media[audio_id].parts}
        assert sorted(parts) == list(range(3))
        content = self.source.path.read_bytes()
        stored = self.sandbox.received(audio_id)
        arrived = (
            stored.read_bytes() if stored.exists() else b"".join(parts[i].path.read_bytes() for i in sorted(parts))
        )
        assert arrived == content


@asynccontextmanager
async def bench(settings: Settings, directory: Path) -> AsyncIterator[Bench]:
    (directory / "sandbox").mkdir()
    async with Sandbox(directory / "sandbox", transcode=False) as sandbox, serve(sandbox) as url:
        pointed = settings.model_copy(update={"api_url": url, "part_size_mib": 1, "state_dir": directory / "state"})
        async with open_uploads(pointed) as uploads:
            source = await uploads.find(str(make_large_audio(directory / "song.wav", 2 * MIB + 1000)))
            yield Bench(uploads, sandbox, source)
            await uploads.client.aclose()


@pytest.mark.parametrize(("call", "fault"), rows())
async def test_each_fault_at_each_call_comes_to_its_outcome(
    settings: Settings, tmp_path: Path, call: FaultyCall, fault: str
) -> None:
    expected = outcome(call, fault)
    with anyio.fail_after(90):
        async with bench(settings, tmp_path) as it:
            if call == "create":
                await check_create(it, fault, expected)
                return
            audio_id = await it.create()
            if call != "part":
                await it.send(audio_id)
            it.strike(call, FAULTS[fault])
            step = {"part": it.send, "complete": it.complete, "detail": it.detail}[call]
            if expected is None:
                await step(audio_id)
            else:
                with pytest.raises(expected) as caught:
                    await step(audio_id)
                check_words(caught.value)
                if call == "part":
                    await step(audio_id)
            it.check_account(audio_id)
            assert it.sandbox.account.count("create") == 1
            check_sent_once(it, audio_id, call, fault)


async def check_create(it: Bench, fault: str, expected: type[Exception] | None) -> None:
    """A create that may have arrived is not sent again: that would be a second object."""
    it.strike("create", FAULTS[fault])
    assert expected is not None
    with pytest.raises(expected) as caught:
        await it.create()
    check_words(caught.value)
    assert it.sandbox.account.count("create") == (0 if fault in UNREACHED else 1)
    assert len(it.sandbox.media) <= 1


def check_words(error: BaseException) -> None:
    """An error says in plain words what was not done, and shows neither a key nor a page."""
    assert isinstance(error, ApiError | PartError)
    message = str(error)
    assert "sandbox-secret-key" not in message
    assert "<html>" not in message
    assert len(message) < 700


def check_sent_once(it: Bench, audio_id: str, call: FaultyCall, fault: str) -> None:
    if call == "complete":
        assert it.sandbox.account.count("complete", audio_id) == (0 if fault in UNREACHED else 1)


@pytest.mark.parametrize("fault", ["connection refused", "TLS failure", "429", "401"])
async def test_a_complete_that_certainly_did_nothing_can_be_asked_for_again(
    settings: Settings, tmp_path: Path, fault: str
) -> None:
    with anyio.fail_after(90):
        async with bench(settings, tmp_path) as it:
            audio_id = await it.create()
            await it.send(audio_id)
            it.strike("complete", FAULTS[fault])
            with pytest.raises(ApiError):
                await it.complete(audio_id)
            await it.complete(audio_id)
    assert it.sandbox.media[audio_id].status == "done"


async def test_a_second_answer_of_any_kind_never_makes_complete_go_out_twice(
    settings: Settings, tmp_path: Path
) -> None:
    with anyio.fail_after(90):
        async with bench(settings, tmp_path) as it:
            audio_id = await it.create()
            await it.send(audio_id)
            it.strike("complete", Fault(Answer(502, HTML, "text/html"), "after"))
            for _ in range(3):
                await it.complete(audio_id)
    assert it.sandbox.account.count("complete") == 1
    assert it.sandbox.media[audio_id].status == "done"


def test_the_table_has_its_rows() -> None:
    assert len(rows()) >= 40
