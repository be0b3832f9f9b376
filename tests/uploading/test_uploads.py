"""The uploads of a process: begun, joined, drained and gone on with."""

from __future__ import annotations

import subprocess
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import anyio
import pytest

from aioz_stream_audio.errors import PartError, SourceChangedError, SourceRefusedError, UploadBusyError, UploadError
from aioz_stream_audio.journal import Journal
from aioz_stream_audio.models import CreateAudio
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Answer, Fault, Sandbox, Stall, faults
from aioz_stream_audio.sandbox.gate import StruckError
from aioz_stream_audio.uploads import Uploads, open_uploads
from audio_files import MIB, make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from aioz_stream_audio.settings import Keys, Settings
    from aioz_stream_audio.source import Source
    from aioz_stream_audio.transfer import Progress

pytestmark = pytest.mark.anyio

HOLD = """
import sys, anyio
from pathlib import Path
from aioz_stream_audio.journal import Journal

async def hold():
    async with Journal(Path(sys.argv[1]), sys.argv[2]).claim(sys.argv[3]):
        print("held", flush=True)
        await anyio.sleep_forever()

anyio.run(hold)
"""


@pytest.fixture
async def audio_id(uploads: Uploads, keys: Keys) -> str:
    return await create(uploads, keys)


@pytest.fixture
async def source(uploads: Uploads, tmp_path: Path) -> Source:
    """Give a file of six parts, of which two may be on the way at once."""
    return await make_source(uploads, tmp_path / "song.wav", 6 * MIB)


async def make_source(uploads: Uploads, path: Path, size: int) -> Source:
    return await uploads.find(str(make_large_audio(path, size)))


async def create(uploads: Uploads, keys: Keys) -> str:
    return (await uploads.api(keys).create(CreateAudio(title="t"))).id


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket brings about, which no event of this side can tell."""
    while not condition():  # noqa: ASYNC110 - there is no event
        await anyio.sleep(0.005)


async def send(
    uploads: Uploads,
    keys: Keys,
    audio_id: str,
    source: Source,
    wait_seconds: float = 20,
    **options: Callable[..., object],
) -> Progress:
    with anyio.fail_after(90):
        return await uploads.upload(keys, audio_id, source, wait_seconds=wait_seconds, **options)  # type: ignore[arg-type]


async def received(uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str) -> bytes:
    """Give the bytes that arrived, joined; each part once, or the sandbox refuses to complete."""
    await uploads.api(keys).complete(audio_id)
    return await anyio.Path(sandbox.received(audio_id)).read_bytes()


def asked_for(sandbox: Sandbox, audio_id: str) -> list[int]:
    """Give which parts were asked for, in the order they came."""
    return [
        int(entry.content_range.removeprefix("bytes ").partition("-")[0]) // MIB
        for entry in sandbox.account.entries("part", audio_id)
    ]


async def acknowledged(journal: Journal, audio_id: str) -> set[int]:
    record = await journal.get(audio_id)
    assert record is not None
    return set(record.acknowledged)


class Caller:
    """A call of `Uploads.upload` that goes on beside the test, and can be cancelled."""

    def __init__(self, call: Callable[[], object]) -> None:
        self._call = call
        self._scope = anyio.CancelScope()
        self.ended = anyio.Event()
        self.progress: Progress | None = None

    async def run(self) -> None:
        with self._scope:
            self.progress = await self._call()  # type: ignore[misc]
        self.ended.set()

    async def cancel(self) -> None:
        self._scope.cancel()
        await self.ended.wait()


@asynccontextmanager
async def calling(
    uploads: Uploads, keys: Keys, audio_id: str, source: Source, callers: int = 1
) -> AsyncIterator[list[Caller]]:
    """Have so many callers wait for one upload; a second at most from now they all do."""
    began = [anyio.Event() for _ in range(callers)]

    async def tell(event: anyio.Event, _: Progress) -> None:
        event.set()

    calls = [Caller(partial(send, uploads, keys, audio_id, source, tell=partial(tell, event))) for event in began]
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for call in calls:
                tasks.start_soon(call.run)
            for event in began:
                await event.wait()
            yield calls


async def test_two_callers_at_once_share_one_upload(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    async with calling(uploads, keys, audio_id, source, callers=2) as callers:
        pass
    assert [caller.progress and caller.progress.state for caller in callers] == ["uploaded", "uploaded"]
    assert sorted(asked_for(sandbox, audio_id)) == list(range(6))
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_an_upload_goes_on_after_its_caller_was_answered(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    progress = await send(uploads, keys, audio_id, source, 0)
    assert (progress.state, progress.parts_done) == ("uploading", 0)
    released.set()
    with anyio.fail_after(90):
        await until(lambda: [entry.outcome for entry in sandbox.account.entries("part")] == ["done"] * 6)
    later = await send(uploads, keys, audio_id, source)
    assert (later.state, later.parts_done, later.parts_resumed) == ("uploaded", 6, 0)
    assert sandbox.account.count("part") == 6


async def test_asked_again_an_upload_that_is_done_says_so_and_sends_nothing(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    first = await send(uploads, keys, audio_id, source)
    assert await send(uploads, keys, audio_id, source) == first
    assert sandbox.account.count("part") == 6


async def test_another_process_finds_an_upload_that_is_done(
    uploads: Uploads, keys: Keys, settings: Settings, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    await send(uploads, keys, audio_id, source)
    async with open_uploads(settings) as later:
        progress = await send(later, keys, audio_id, source)
    assert (progress.state, progress.parts_resumed) == ("uploaded", 6)
    assert sandbox.account.count("part") == 6


async def test_progress_is_told_to_whoever_waits(uploads: Uploads, keys: Keys, audio_id: str, source: Source) -> None:
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)

    done = await send(uploads, keys, audio_id, source, tell=tell)
    assert told[0].state == "uploading"
    assert told[-1] == done


async def test_cancelled_an_upload_drains_and_the_next_call_goes_on(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        released.set()
        # Once it has drained, it lets go of its claim, and another process can go on with it.
        async with open_uploads(settings) as another:
            progress = None
            while progress is None:
                try:
                    progress = await send(another, keys, audio_id, source)
                except UploadBusyError:
                    await anyio.sleep(0.005)
    assert (progress.state, progress.parts_resumed) == ("uploaded", 2)
    assert sorted(asked_for(sandbox, audio_id)[:2]) == [0, 1]
    assert sorted(asked_for(sandbox, audio_id)) == list(range(6))
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_drained_an_upload_is_gone_on_with_by_the_same_process(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        released.set()
        await drained(settings, audio_id)
        assert await acknowledged(uploads.journal, audio_id) == {0, 1}
        progress = await send(uploads, keys, audio_id, source)
    assert (progress.state, progress.parts_resumed) == ("uploaded", 2)
    assert sorted(asked_for(sandbox, audio_id)) == list(range(6))


async def drained(settings: Settings, audio_id: str) -> None:
    """Wait until nobody holds the upload any more."""
    journal = Journal(settings.state_dir, settings.api_url)
    while True:
        try:
            async with journal.claim(audio_id):
                return
        except UploadBusyError:
            await anyio.sleep(0.005)


async def test_an_upload_that_still_drains_is_gone_on_with(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        async with calling(uploads, keys, audio_id, source) as (later,):
            released.set()
    assert later.progress is not None
    assert (later.progress.state, later.progress.parts_resumed) == ("uploaded", 0)
    assert sorted(asked_for(sandbox, audio_id)) == list(range(6))


async def test_an_upload_that_drains_with_a_place_free_starts_no_part_and_can_be_gone_on_with(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    """With one part held, the place of the other is free: it is not taken while draining, and is taken after."""
    released = [anyio.Event(), anyio.Event()]
    for number, event in enumerate(released):
        sandbox.faults.add("part", faults.stall(until=event), start=number * MIB)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        released[0].set()
        while await acknowledged(uploads.journal, audio_id) != {0}:  # noqa: ASYNC110 - there is no event
            await anyio.sleep(0.005)
        assert sandbox.account.count("part") == 2
        async with calling(uploads, keys, audio_id, source):
            await until(lambda: len(sandbox.account.entries("part", audio_id)) > 2)
            released[1].set()
    assert sorted(asked_for(sandbox, audio_id)) == list(range(6))


async def test_an_upload_cancelled_before_it_got_a_place_sends_nothing(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source, tmp_path: Path
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    other = await make_source(uploads, tmp_path / "other.wav", MIB)
    other_id = await create(uploads, keys)
    async with calling(uploads, keys, audio_id, source):
        await until(lambda: sandbox.account.count("part") == 2)
        async with calling(uploads, keys, other_id, other) as (caller,):
            await caller.cancel()
            released.set()
            await drained(settings, other_id)
    assert sandbox.account.count("part", audio_id) == 6
    assert sandbox.account.count("part", other_id) == 0
    assert (await send(uploads, keys, other_id, other)).state == "uploaded"


@dataclass(frozen=True)
class StallThenRefuse(Stall):
    """A stall that ends in a passing fault."""

    answer: Answer = field(default_factory=lambda: Answer(503))

    async def wait(self) -> None:
        await super().wait()
        raise StruckError(self.answer)


async def test_a_passing_fault_while_draining_is_left_to_the_next_call(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", Fault(StallThenRefuse(until=released)), times=2)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        released.set()
        await drained(settings, audio_id)
    assert sandbox.account.count("part") == 2
    progress = await send(uploads, keys, audio_id, source)
    assert (progress.state, progress.parts_resumed) == ("uploaded", 0)
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


@pytest.mark.parametrize("headers", [{}, {"Retry-After": "0"}], ids=["at some time", "at once"])
async def test_a_part_on_the_way_finishes_though_another_meets_a_fault_while_draining(
    uploads: Uploads,
    keys: Keys,
    sandbox: Sandbox,
    settings: Settings,
    audio_id: str,
    source: Source,
    headers: dict[str, str],
) -> None:
    """Guards against a part that is not tried again, because the upload drains, taking the others with it."""
    refused, released = anyio.Event(), anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), start=0)
    sandbox.faults.add("part", Fault(StallThenRefuse(until=refused, answer=Answer(503, headers=headers))), start=MIB)
    async with calling(uploads, keys, audio_id, source) as (caller,):
        await until(lambda: sandbox.account.count("part") == 2)
        await caller.cancel()
        refused.set()
        await until(lambda: [entry.status for entry in sandbox.account.entries("part")].count(503) == 1)
        released.set()
        await drained(settings, audio_id)
    assert await acknowledged(uploads.journal, audio_id) == {0}
    assert (await send(uploads, keys, audio_id, source)).state == "uploaded"


async def test_one_of_two_callers_that_is_cancelled_does_not_stop_the_other(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=2)
    async with calling(uploads, keys, audio_id, source, callers=2) as (one, other):
        await until(lambda: sandbox.account.count("part") == 2)
        await one.cancel()
        released.set()
    assert one.progress is None
    assert other.progress is not None
    assert other.progress.state == "uploaded"
    assert sandbox.account.count("part", audio_id) == 6


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "of a process before"])
async def test_another_file_for_the_same_audio_is_refused(
    uploads: Uploads,
    keys: Keys,
    sandbox: Sandbox,
    settings: Settings,
    audio_id: str,
    source: Source,
    tmp_path: Path,
    *,
    under_way: bool,
) -> None:
    await send(uploads, keys, audio_id, source)
    other = await make_source(uploads, tmp_path / "other.wav", MIB)
    async with open_uploads(settings) as later:
        with pytest.raises(UploadError, match=r"was begun with another file, .*song\.wav, so nothing") as caught:
            await send(uploads if under_way else later, keys, audio_id, other)
    assert type(caught.value) is UploadError
    assert caught.value.audio_id == audio_id
    assert sandbox.account.count("part") == 6


@pytest.mark.parametrize("under_way", [True, False], ids=["under way", "of a process before"])
async def test_a_file_that_changed_since_its_first_part_is_refused(
    uploads: Uploads,
    keys: Keys,
    sandbox: Sandbox,
    settings: Settings,
    audio_id: str,
    source: Source,
    *,
    under_way: bool,
) -> None:
    await send(uploads, keys, audio_id, source)
    changed = await make_source(uploads, source.path, 5 * MIB)
    async with open_uploads(settings) as later:
        with pytest.raises(SourceChangedError, match="has changed since its upload to audio") as caught:
            await send(uploads if under_way else later, keys, audio_id, changed)
    assert caught.value.path == source.path
    assert sandbox.account.count("part") == 6


async def test_after_an_error_the_next_call_begins_again(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str, source: Source
) -> None:
    sandbox.faults.add("part", faults.status(403))
    with pytest.raises(PartError):
        await send(uploads, keys, audio_id, source)
    assert (await send(uploads, keys, audio_id, source)).state == "uploaded"
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_closing_with_an_upload_under_way_ends_at_once_and_loses_nothing(
    keys: Keys, sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), start=2 * MIB)
    sandbox.faults.add("part", faults.stall(until=released), start=4 * MIB)
    with anyio.fail_after(90):
        async with open_uploads(settings) as uploads:
            source = await make_source(uploads, tmp_path / "song.wav", 6 * MIB)
            audio_id = await create(uploads, keys)
            while (await send(uploads, keys, audio_id, source, 0)).parts_done < 3:  # noqa: ASYNC110 - there is no event
                await anyio.sleep(0.005)
            await until(lambda: sandbox.account.count("part") == 5)
        # Here it has ended, though both parts are still held.
        released.set()
        async with open_uploads(settings) as later:
            assert await acknowledged(later.journal, audio_id) == {0, 1, 3}
            progress = await send(later, keys, audio_id, source)
            assert (progress.state, progress.parts_resumed) == ("uploaded", 3)
            assert sorted(asked_for(sandbox, audio_id)) == [0, 1, 2, 2, 3, 4, 4, 5]
            assert await received(later, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_an_error_in_the_block_comes_out_of_it_as_it_is(settings: Settings) -> None:
    """Guards against the task group's wrapping it: whoever uses the library catches an `UploadError`, not a group."""
    with pytest.raises(UploadError, match="as it is"):
        async with open_uploads(settings):
            raise UploadError("as it is", audio_id="a")


async def test_an_upload_that_another_process_sends_is_busy_until_that_process_ends(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    with anyio.fail_after(90):
        async with await anyio.open_process(
            [sys.executable, "-c", HOLD, str(settings.state_dir), settings.api_url, audio_id],
            stdin=subprocess.DEVNULL,
            stderr=None,
        ) as process:
            assert process.stdout is not None
            assert (await process.stdout.receive()).strip() == b"held"
            with pytest.raises(UploadBusyError, match="so nothing was sent from here"):
                await send(uploads, keys, audio_id, source)
            assert sandbox.account.count("part") == 0
            process.kill()
            await process.wait()
    assert (await send(uploads, keys, audio_id, source)).state == "uploaded"


class ForgetfulJournal(Journal):
    """A journal of which another process forgets the upload just before it is claimed."""

    @asynccontextmanager
    async def claim(self, audio_id: str) -> AsyncIterator[None]:
        await self.forget(audio_id)
        async with super().claim(audio_id):
            yield


async def test_an_upload_that_another_process_forgot_meanwhile_is_an_error_that_says_to_ask_again(
    keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    journal = ForgetfulJournal(settings.state_dir, settings.api_url)
    async with open_uploads(settings) as uploads:
        uploads.journal = journal
        with pytest.raises(UploadError, match="ask again"):
            await send(uploads, keys, audio_id, source)
    await journal.aclose()
    assert sandbox.account.count("part") == 0


async def test_the_part_size_is_chosen_by_the_files_size_unless_it_is_set(
    keys: Keys, sandbox: Sandbox, settings: Settings, audio_id: str, source: Source
) -> None:
    async with open_uploads(settings.model_copy(update={"part_size_mib": None})) as chosen:
        progress = await send(chosen, keys, audio_id, source)
    assert progress.parts_total == 1
    assert sandbox.account.entries("part")[0].size == source.size


async def test_only_files_in_the_allowed_directories_are_found(settings: Settings, tmp_path: Path) -> None:
    path = make_large_audio(tmp_path / "song.wav", 100)
    (tmp_path / "allowed").mkdir()
    async with open_uploads(settings.model_copy(update={"allowed_dirs": (tmp_path / "allowed",)})) as limited:
        with pytest.raises(SourceRefusedError):
            await limited.find(str(path))


async def test_no_key_is_kept_on_disk(
    uploads: Uploads, keys: Keys, settings: Settings, audio_id: str, source: Source
) -> None:
    await send(uploads, keys, audio_id, source)
    await uploads.journal.aclose()
    kept = b"".join(path.read_bytes() for path in sorted(settings.state_dir.rglob("*")) if path.is_file())
    assert audio_id.encode() in kept
    assert PUBLIC_KEY.encode() not in kept
    assert SECRET_KEY.encode() not in kept
