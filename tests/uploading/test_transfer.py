"""The sending of parts: in parallel, again where that is worth it, and never twice where it is not."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import anyio.lowlevel
import pytest
import stamina

from aioz_stream_audio.errors import (
    AiozStreamError,
    AnswerError,
    AudioNotFoundError,
    JournalError,
    KeysNotAllowedError,
    KeysRefusedError,
    NoAnswerError,
    NotConnectedError,
    PartError,
    SourceChangedError,
    StatusError,
)
from aioz_stream_audio.models import CreateAudio
from aioz_stream_audio.sandbox import Account, Drop, Fault, Sandbox, Stall, faults
from aioz_stream_audio.transfer import WAIT_ASKED_MAX, Progress, Transfer, back_off, wait_before_retry
from aioz_stream_audio.uploads import Uploads, open_uploads
from audio_files import MIB, make_large_audio

if TYPE_CHECKING:
    from collections.abc import Callable

    from aioz_stream_audio.settings import Keys, Settings
    from aioz_stream_audio.source import Source

pytestmark = pytest.mark.anyio

# The attempts that conftest allows in place of the real number.
ATTEMPTS = 5


@pytest.fixture
def parallel_parts() -> int:
    return 3


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket brings about, which no event of this side can tell."""
    while not condition():  # noqa: ASYNC110 - there is no event
        await anyio.sleep(0.005)


async def make_source(uploads: Uploads, path: Path, size: int) -> Source:
    return await uploads.find(str(make_large_audio(path, size)))


async def create(uploads: Uploads, keys: Keys) -> str:
    return (await uploads.api(keys).create(CreateAudio(title="t"))).id


async def send(uploads: Uploads, keys: Keys, audio_id: str, source: Source) -> Progress:
    with anyio.fail_after(90):
        return await uploads.upload(keys, audio_id, source, wait_seconds=20)


def transfer_of(uploads: Uploads, audio_id: str) -> Transfer:
    transfer = uploads.find_transfer(audio_id)
    assert transfer is not None
    return transfer


async def received(uploads: Uploads, keys: Keys, sandbox: Sandbox, audio_id: str) -> bytes:
    """Give the bytes that arrived, joined; each part once, or the sandbox refuses to complete."""
    await uploads.api(keys).complete(audio_id)
    return await anyio.Path(sandbox.received(audio_id)).read_bytes()


def starts(sandbox: Sandbox, audio_id: str) -> list[int]:
    """Give where each part begins that was asked for, in MiB, in the order they came."""
    return [
        int(entry.content_range.removeprefix("bytes ").partition("-")[0]) // MIB
        for entry in sandbox.account.entries("part", audio_id)
    ]


def status_error(status: int, message: str = "m", retry_after: float | None = None) -> StatusError:
    return StatusError("m", call="part", host="h", status=status, api_message=message, retry_after=retry_after)


@pytest.mark.parametrize(
    ("error", "answer"),
    [
        (NotConnectedError("m", call="part", host="h"), True),
        (NoAnswerError("m", call="part", host="h"), True),
        (AnswerError("m", call="part", host="h"), True),
        *((status_error(status), True) for status in (408, 429, 500, 502, 503, 504, 599)),
        *((status_error(status), False) for status in (307, 400, 401, 403, 404, 409, 413, 422, 600)),
        (status_error(400, "File corrupted."), True),
        (status_error(200, "File corrupted."), True),
        (status_error(400, "Too many concurrent media uploading."), True),
        (status_error(400, "Invalid content range."), False),
        (status_error(429, retry_after=7.0), 7.0),
        (status_error(503, retry_after=0.0), 0.0),
        (status_error(429, retry_after=WAIT_ASKED_MAX), WAIT_ASKED_MAX),
        (status_error(429, retry_after=WAIT_ASKED_MAX + 1), False),
        (JournalError("m", path=Path("journal")), False),
        (ValueError("m"), False),
    ],
)
def test_what_is_tried_again_and_after_how_long(error: Exception, answer: float) -> None:
    assert back_off(error) is answer or (type(back_off(error)) is type(answer) and back_off(error) == answer)


def test_whoever_cannot_wait_long_is_told_instead() -> None:
    assert back_off(status_error(429, retry_after=10.0), longest=10.0) == 10.0
    assert back_off(status_error(429, retry_after=10.1), longest=10.0) is False


@pytest.mark.parametrize("size", [44, MIB - 1, MIB, MIB + 1, 4 * MIB + 17])
async def test_the_bytes_that_arrive_are_the_bytes_on_disk(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path, size: int
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", size)
    audio_id = await create(uploads, keys)
    progress = await send(uploads, keys, audio_id, source)
    assert progress.state == "uploaded"
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()
    assert sandbox.account.count("part", audio_id) == progress.parts_total == -(-size // MIB)


@dataclass(frozen=True)
class Counted(Stall):
    """A stall that also puts down how many parts are on the way when it begins."""

    account: Account | None = None
    on_the_way: tuple[list[int], ...] = ()

    async def wait(self) -> None:
        assert self.account is not None
        self.on_the_way[0].append(sum(entry.status is None for entry in self.account.entries("part")))
        await super().wait()


async def test_two_files_share_one_limit_of_parts_on_the_way(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    on_the_way: list[int] = []
    released = anyio.Event()
    sandbox.faults.add("part", Fault(Counted(0.0, released, sandbox.account, (on_the_way,))), times=12)
    sources = [await make_source(uploads, tmp_path / f"{number}.wav", 6 * MIB) for number in range(2)]
    audio_ids = [await create(uploads, keys) for _ in sources]
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for audio_id, source in zip(audio_ids, sources, strict=True):
                tasks.start_soon(send, uploads, keys, audio_id, source)
            await until(lambda: len(on_the_way) == settings.parallel_parts)
            released.set()
    assert len(on_the_way) == 12
    assert max(on_the_way) == settings.parallel_parts


RETRIED = {
    "500": faults.status(500),
    "502 with a page of a proxy": faults.raw(502, "text/html", b"<h1>Bad gateway</h1>"),
    "408": faults.status(408),
    "429": faults.status(429),
    "429 that says how long": faults.status(429, retry_after="7"),
    "503 that says not at all": faults.status(503, retry_after="0"),
    "corrupted": faults.corrupted(),
    "too many at once": faults.status(400, "Too many concurrent media uploading."),
    "reset before": faults.reset(),
    "reset within": faults.reset(MIB // 2),
    "reset after": faults.done_then(Fault(Drop())),
    "500 after": faults.done_then(faults.status(500)),
    "answer cut": faults.cut(),
    "answer empty": faults.empty(),
    "answer broken off": faults.truncated_json(),
    "answer of something else": faults.wrong_json(),
    "captive portal": faults.raw(200, "text/html", b"<h1>Please log in</h1>"),
}


@pytest.mark.parametrize("fault", RETRIED.values(), ids=RETRIED.keys())
async def test_a_part_that_meets_a_passing_fault_is_sent_again_and_the_audio_is_whole(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path, fault: Fault
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 3 * MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", fault, times=2, start=MIB)
    progress = await send(uploads, keys, audio_id, source)
    assert (progress.state, progress.parts_done, progress.sent_bytes) == ("uploaded", 3, source.size)
    assert sorted(starts(sandbox, audio_id)) == [0, 1, 1, 1, 2]
    assert not sandbox.faults.pending
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_a_part_that_is_there_already_counts_as_sent(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", faults.done_then(Fault(Drop())))
    assert (await send(uploads, keys, audio_id, source)).state == "uploaded"
    assert [entry.outcome for entry in sandbox.account.entries("part")] == ["done", "Part is already uploaded."]


NOT_RETRIED = {
    "400": (faults.status(400, "Invalid content range."), StatusError),
    "401": (faults.status(401, "You are not logged in."), KeysRefusedError),
    "403": (faults.status(403, "Api key are not allowed to access this resource."), KeysNotAllowedError),
    "404": (faults.status(404, "Media not found."), AudioNotFoundError),
    "413": (faults.raw(413, "text/html", b"<h1>Too large</h1>"), StatusError),
    "429 that asks for too long": (faults.status(429, retry_after="301"), StatusError),
    "redirect": (faults.redirect("https://elsewhere.example/"), StatusError),
}


@pytest.mark.parametrize(("fault", "cause"), NOT_RETRIED.values(), ids=NOT_RETRIED.keys())
async def test_a_part_that_is_refused_is_not_sent_again_and_the_error_names_it(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path, fault: Fault, cause: type[StatusError]
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 3 * MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", fault, start=MIB)
    with pytest.raises(
        PartError, match=r"^Part 2 of 3 could not be sent: 127\.0\.0\.1 refused the part call"
    ) as caught:
        await send(uploads, keys, audio_id, source)
    assert (caught.value.index, caught.value.audio_id) == (1, audio_id)
    assert type(caught.value.__cause__) is cause
    assert starts(sandbox, audio_id).count(1) == 1


async def test_a_part_that_keeps_failing_ends_the_upload_and_what_arrived_is_not_sent_again(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    one_by_one = settings.model_copy(update={"parallel_parts": 1, "state_dir": tmp_path / "one"})
    source = await make_source(uploads, tmp_path / "song.wav", 4 * MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", faults.status(500), times=ATTEMPTS, start=2 * MIB)
    async with open_uploads(one_by_one) as slow:
        with pytest.raises(
            PartError, match=r"^Part 3 of 4 .* 2 of 4 parts have arrived and are not sent again"
        ) as caught:
            await send(slow, keys, audio_id, source)
        assert caught.value.index == 2
        assert starts(sandbox, audio_id) == [0, 1, *[2] * ATTEMPTS]

        progress = await send(slow, keys, audio_id, source)
    assert (progress.state, progress.parts_resumed, progress.parts_done) == ("uploaded", 2, 4)
    assert starts(sandbox, audio_id) == [0, 1, *[2] * ATTEMPTS, 2, 3]
    assert await received(uploads, keys, sandbox, audio_id) == source.path.read_bytes()


async def test_when_several_parts_fail_there_is_one_error(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 3 * MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", faults.status(403), times=3)
    with pytest.raises(PartError) as caught:
        await send(uploads, keys, audio_id, source)
    assert isinstance(caught.value, AiozStreamError)


async def test_a_file_that_changes_between_its_parts_ends_the_upload(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 6 * MIB)
    audio_id = await create(uploads, keys)
    released = anyio.Event()
    sandbox.faults.add("part", faults.done_then(faults.stall(until=released)), times=3)
    with anyio.fail_after(90):
        assert (await uploads.upload(keys, audio_id, source, wait_seconds=0)).state == "uploading"
        await until(lambda: [entry.outcome for entry in sandbox.account.entries("part")] == ["done"] * 3)
        make_large_audio(source.path, 5 * MIB)
        released.set()
        with pytest.raises(SourceChangedError, match="changed its size"):
            await uploads.upload(keys, audio_id, source, wait_seconds=20)
    assert {entry.index for entry in sandbox.account.entries("part") if entry.outcome == "done"} == {0, 1, 2}


async def test_a_journal_that_fails_ends_the_upload(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", MIB)
    audio_id = await create(uploads, keys)
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released))
    with anyio.fail_after(90):
        await uploads.upload(keys, audio_id, source, wait_seconds=0)
        await uploads.journal.forget(audio_id)
        released.set()
        with pytest.raises(JournalError):
            await uploads.upload(keys, audio_id, source, wait_seconds=20)


async def test_progress_tells_of_the_whole_file_and_of_what_is_on_the_way(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 2 * MIB + 1)
    audio_id = await create(uploads, keys)
    released = anyio.Event()
    sandbox.faults.add("part", Fault(Stall(until=released), "within", MIB // 2), start=0)
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)
        if progress.parts_done == 2 and progress.sent_bytes >= MIB + 1 + MIB // 2:
            released.set()

    with anyio.fail_after(90):
        done = await uploads.upload(keys, audio_id, source, wait_seconds=20, tell=tell)
    assert told[-1] == done
    assert {(p.audio_id, p.path, p.size_bytes, p.parts_total, p.parts_resumed) for p in told} == {
        (audio_id, str(source.path), source.size, 3, 0)
    }
    assert (told[0].state, told[0].sent_bytes, told[0].parts_done) == ("uploading", 0, 0)
    assert (done.state, done.sent_bytes, done.parts_done) == ("uploaded", source.size, 3)
    assert any(p.state == "uploading" and p.sent_bytes > MIB + 1 for p in told)
    for name in ("sent_bytes", "parts_done", "elapsed_seconds"):
        values = [getattr(p, name) for p in told]
        assert values == sorted(values)
    assert all(p.bytes_per_second >= 0 for p in told)
    assert done.bytes_per_second > 0


async def test_bytes_that_were_there_before_do_not_count_for_the_speed(
    uploads: Uploads, keys: Keys, settings: Settings, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 2 * MIB)
    audio_id = await create(uploads, keys)
    await send(uploads, keys, audio_id, source)
    async with open_uploads(settings) as later:
        progress = await send(later, keys, audio_id, source)
    assert (progress.state, progress.sent_bytes, progress.parts_resumed) == ("uploaded", source.size, 2)
    assert progress.bytes_per_second == 0


async def test_progress_never_counts_a_part_that_is_sent_again_twice(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 2 * MIB)
    audio_id = await create(uploads, keys)
    released = anyio.Event()
    sandbox.faults.add("part", faults.corrupted(), start=0)
    sandbox.faults.add("part", Fault(Stall(until=released), "within", MIB // 2), start=0)
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        told.append(progress)
        if starts(sandbox, audio_id).count(0) == 2 and progress.sent_bytes >= MIB + MIB // 2:
            released.set()

    with anyio.fail_after(90):
        await uploads.upload(keys, audio_id, source, wait_seconds=20, tell=tell)
    assert released.is_set()
    assert max(p.sent_bytes for p in told) == source.size


async def test_a_part_that_is_asked_to_wait_waits(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    """With real waits, because what is asked here is whether anybody waits."""
    source = await make_source(uploads, tmp_path / "song.wav", MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", faults.status(429, retry_after="2"))
    with stamina.set_testing(False):
        began = anyio.current_time()
        await send(uploads, keys, audio_id, source)
    assert anyio.current_time() - began >= 2


def test_a_wait_that_was_asked_for_is_no_shorter_than_usual_and_differs_by_part() -> None:
    hasty = status_error(503, retry_after=0.0)
    for tried, usual in enumerate([1, 2, 4, 8, 16, 30, 30]):
        assert usual <= wait_before_retry(hasty, tried) <= usual + 1
    assert 7 <= wait_before_retry(status_error(429, retry_after=7.0), 0) <= 8
    assert len({wait_before_retry(hasty, 0) for _ in range(10)}) > 1
    assert wait_before_retry(status_error(500), 3) is True
    assert wait_before_retry(status_error(404), 0) is False


async def test_a_part_that_backs_off_is_left_for_another_time_when_the_upload_drains(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, tmp_path: Path
) -> None:
    source = await make_source(uploads, tmp_path / "song.wav", 2 * MIB)
    audio_id = await create(uploads, keys)
    sandbox.faults.add("part", faults.status(503, retry_after="200"), start=MIB)
    with stamina.set_testing(False), anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, uploads, keys, audio_id, source)
            await until(lambda: [entry.status for entry in sandbox.account.entries("part")].count(503) == 1)
            transfer = transfer_of(uploads, audio_id)
            await until(lambda: transfer.progress.sent_bytes == transfer.progress.parts_done * MIB == MIB)
            tasks.cancel_scope.cancel()
        await transfer.ended.wait()
        assert sorted(starts(sandbox, audio_id)) == [0, 1]
        progress = await send(uploads, keys, audio_id, source)
    assert (progress.parts_resumed, progress.parts_done) == (1, 2)
    assert sorted(starts(sandbox, audio_id)) == [0, 1, 1]


async def test_an_upload_that_queues_behind_another_one_ends_when_it_drains(
    uploads: Uploads, keys: Keys, sandbox: Sandbox, settings: Settings, tmp_path: Path
) -> None:
    """Guards against an abandoned upload that sends nothing, and keeps every other process from doing so."""
    first, second = [await make_source(uploads, tmp_path / f"{name}.wav", 3 * MIB) for name in "ab"]
    one, other = await create(uploads, keys), await create(uploads, keys)
    released = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=released), times=settings.parallel_parts)
    with anyio.fail_after(90):
        await uploads.upload(keys, one, first, wait_seconds=0)
        await until(lambda: sandbox.account.count("part") == settings.parallel_parts)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(send, uploads, keys, other, second)
            await until(lambda: uploads.find_transfer(other) is not None)
            tasks.cancel_scope.cancel()
        await transfer_of(uploads, other).ended.wait()
        async with open_uploads(settings) as elsewhere:
            assert (await send(elsewhere, keys, other, second)).state == "uploaded"
        released.set()
        assert (await send(uploads, keys, one, first)).state == "uploaded"


@pytest.mark.parametrize("moment", range(8))
async def test_a_transfer_gone_on_with_at_any_moment_before_it_ended_goes_on(
    uploads: Uploads, keys: Keys, tmp_path: Path, moment: int
) -> None:
    """Guards against a drained transfer that is gone on with in its last moment, and ends all the same."""
    source = await make_source(uploads, tmp_path / "song.wav", MIB)
    audio_id = await create(uploads, keys)
    record = await uploads.journal.begin(audio_id, source, MIB)
    slots = anyio.Semaphore(0)
    transfer = Transfer(uploads.api(keys), source, record, uploads.journal, slots)
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(transfer.run)
            await anyio.wait_all_tasks_blocked()
            transfer.drain()
            slots.release()
            for _ in range(moment):
                await anyio.lowlevel.checkpoint()
            gone_on_with = not transfer.ended.is_set()
            transfer.resume()
            await transfer.ended.wait()
    assert transfer.error is None
    assert transfer.uploaded is gone_on_with
