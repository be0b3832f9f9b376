"""The record of uploads: what it keeps, for how long, and who may use it at once."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest

from aioz_stream_audio.errors import JournalError, UploadBusyError
from aioz_stream_audio.journal import Journal
from aioz_stream_audio.journal_file import VERSION
from aioz_stream_audio.source import Source

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

pytestmark = pytest.mark.anyio

API = "https://api.example/api/videos"
MIB = 1024 * 1024
HOUR = 3600.0
SONG = Source(Path("/music/song.wav"), 10 * MIB, 1_700_000_000_000_000_001, (1, 2), "WAV", "audio/wav")

HOLD = """
import sys, anyio
from pathlib import Path
from aioz_stream_audio.journal import Journal

async def hold():
    async with Journal(Path(sys.argv[1]), sys.argv[2]).claim("a"):
        print("held", flush=True)
        await anyio.sleep_forever()

anyio.run(hold)
"""


@pytest.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    opened = Journal(tmp_path / "state", API)
    yield opened
    await opened.aclose()


def change(journal: Journal, statement: str, *values: object) -> None:
    """Change the file as no method of the journal does."""
    with closing(sqlite3.connect(journal.path)) as db, db:
        db.execute(statement, values)


def age(journal: Journal, audio_id: str, seconds: float) -> None:
    """Make an upload that many seconds older."""
    statement = "UPDATE upload SET created = created - ?, updated = updated - ? WHERE audio_id = ?"
    change(journal, statement, seconds, seconds, audio_id)


async def acknowledge_all(journal: Journal, audio_id: str, indexes: range) -> None:
    for index in indexes:
        await journal.acknowledge(audio_id, index, "md5")


async def fill(journal: Journal) -> None:
    """Note enough for many pages, and none of them a spare one."""
    await journal.begin("before", SONG, MIB, "request" * 20_000)


async def test_what_was_never_begun_is_not_known(journal: Journal) -> None:
    assert await journal.get("a") is None


async def test_an_upload_is_known_as_it_began(journal: Journal) -> None:
    begun = await journal.begin("a", SONG, 3 * MIB)
    assert begun == await journal.get("a")
    assert (begun.audio_id, begun.path, begun.size, begun.modified_ns) == (
        "a",
        str(SONG.path),
        SONG.size,
        SONG.modified_ns,
    )
    assert (begun.part_size, begun.parts_total, begun.parts_done, begun.complete) == (3 * MIB, 4, 0, "unsent")
    assert begun.is_of(SONG)


async def test_the_part_size_and_the_file_of_an_upload_never_change(journal: Journal) -> None:
    begun = await journal.begin("a", SONG, 3 * MIB)
    again = await journal.begin("a", replace(SONG, path=Path("/music/other.wav"), size=5), 7 * MIB)
    assert again == begun


@pytest.mark.parametrize(
    "other",
    [replace(SONG, path=Path("/music/other.wav")), replace(SONG, size=1), replace(SONG, modified_ns=1)],
    ids=["path", "size", "time"],
)
async def test_a_file_is_known_by_path_size_and_time(journal: Journal, other: Source) -> None:
    assert not (await journal.begin("a", SONG, MIB)).is_of(other)


async def test_a_part_acknowledged_twice_counts_once(journal: Journal) -> None:
    await journal.begin("a", SONG, 3 * MIB)
    for index in (2, 0, 2):
        await journal.acknowledge("a", index, "md5")
    record = await journal.get("a")
    assert record is not None
    assert (record.acknowledged, record.parts_done) == (frozenset({0, 2}), 2)


async def test_a_part_is_noted_even_while_its_sender_is_being_cancelled(journal: Journal) -> None:
    await journal.begin("a", SONG, 3 * MIB)
    with anyio.CancelScope() as scope:
        scope.cancel()
        await journal.acknowledge("a", 1, "md5")
    record = await journal.get("a")
    assert record is not None
    assert record.acknowledged == {1}


async def test_complete_is_claimed_once(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    assert [await journal.claim_complete("a"), await journal.claim_complete("a")] == [True, False]
    record = await journal.get("a")
    assert record is not None
    assert record.complete == "sent"


async def test_complete_of_an_unknown_upload_is_not_claimed(journal: Journal) -> None:
    assert await journal.claim_complete("a") is False


async def test_complete_that_did_nothing_can_be_claimed_again(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    await journal.claim_complete("a")
    await journal.release_complete("a")
    assert await journal.claim_complete("a") is True


async def test_complete_of_a_settled_upload_is_not_claimed(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    await journal.settle("a")
    assert await journal.claim_complete("a") is False


async def test_one_of_many_who_claim_complete_at_once_gets_it(tmp_path: Path) -> None:
    journals = [Journal(tmp_path, API) for _ in range(4)]
    await journals[0].begin("a", SONG, MIB)
    claims: list[bool] = []

    async def claim(journal: Journal) -> None:
        claims.append(await journal.claim_complete("a"))

    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for journal in journals * 5:
                tasks.start_soon(claim, journal)
    for journal in journals:
        await journal.aclose()
    assert sorted(claims) == [False] * 19 + [True]


async def test_a_forgotten_upload_leaves_no_parts_behind(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    await acknowledge_all(journal, "a", range(3))
    await journal.forget("a")
    assert await journal.get("a") is None
    assert (await journal.begin("a", SONG, MIB)).acknowledged == frozenset()


async def test_a_part_of_a_forgotten_upload_is_an_error(journal: Journal) -> None:
    with pytest.raises(JournalError, match="FOREIGN KEY"):
        await journal.acknowledge("a", 0, "md5")


async def test_the_newest_upload_of_the_same_file_and_request_can_be_resumed(journal: Journal) -> None:
    await journal.begin("old", SONG, MIB, "request")
    age(journal, "old", 10)
    await journal.begin("new", SONG, MIB, "request")
    await journal.begin("other", SONG, MIB, "other request")
    await journal.begin("tool", SONG, MIB)
    found = await journal.find_resumable(SONG, "request")
    assert found is not None
    assert found.audio_id == "new"


@pytest.mark.parametrize(
    "other",
    [replace(SONG, path=Path("/music/other.wav")), replace(SONG, size=1), replace(SONG, modified_ns=1)],
    ids=["path", "size", "time"],
)
async def test_an_upload_of_another_file_is_not_resumed(journal: Journal, other: Source) -> None:
    await journal.begin("a", SONG, MIB, "request")
    assert await journal.find_resumable(other, "request") is None


async def test_an_upload_whose_complete_was_sent_is_resumed_until_it_is_settled(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB, "request")
    await journal.claim_complete("a")
    assert await journal.find_resumable(SONG, "request") is not None
    await journal.settle("a")
    assert await journal.find_resumable(SONG, "request") is None


@pytest.mark.parametrize(("hours", "found"), [(22.9, True), (23.1, False)])
async def test_an_upload_is_resumed_while_its_audio_object_is_there(
    journal: Journal, hours: float, *, found: bool
) -> None:
    await journal.begin("a", SONG, MIB, "request")
    age(journal, "a", hours * HOUR)
    assert (await journal.find_resumable(SONG, "request") is not None) is found


async def test_what_nobody_touched_for_a_week_is_forgotten_when_another_begins(journal: Journal) -> None:
    for audio_id, days in (("old", 7.1), ("recent", 6.9)):
        await journal.begin(audio_id, SONG, MIB)
        age(journal, audio_id, days * 24 * HOUR)
    await journal.begin("new", SONG, MIB)
    assert await journal.get("old") is None
    assert await journal.get("recent") is not None


async def test_a_part_that_arrives_keeps_an_old_upload(journal: Journal) -> None:
    await journal.begin("old", SONG, MIB)
    age(journal, "old", 7.1 * 24 * HOUR)
    await journal.acknowledge("old", 0, "md5")
    await journal.begin("new", SONG, MIB)
    assert await journal.get("old") is not None


async def test_uploads_to_another_address_are_kept_apart(tmp_path: Path) -> None:
    here, there = Journal(tmp_path, API), Journal(tmp_path, "https://api.example/api/media")
    await here.begin("a", SONG, MIB, "request")
    await here.acknowledge("a", 0, "md5")
    assert await there.get("a") is None
    assert await there.find_resumable(SONG, "request") is None
    assert (await there.begin("a", SONG, 2 * MIB)).acknowledged == frozenset()
    await there.forget("a")
    assert await here.get("a") is not None
    async with here.claim("a"), there.claim("a"):
        pass
    await here.aclose()
    await there.aclose()


async def test_what_was_noted_is_there_when_it_is_opened_again(tmp_path: Path) -> None:
    journal = Journal(tmp_path, API)
    before = await journal.begin("a", SONG, MIB)
    await journal.acknowledge("a", 4, "md5")
    await journal.aclose()
    assert await journal.get("a") == replace(before, acknowledged=frozenset({4}))
    await journal.aclose()


async def test_a_journal_that_was_never_used_can_be_closed_and_makes_no_directory(tmp_path: Path) -> None:
    await Journal(tmp_path / "state", API).aclose()
    assert not (tmp_path / "state").exists()


async def test_two_journals_on_one_file_note_parts_at_the_same_time(tmp_path: Path) -> None:
    one, other = Journal(tmp_path, API), Journal(tmp_path, API)
    await one.begin("a", SONG, MIB)
    with anyio.fail_after(90):
        async with anyio.create_task_group() as tasks:
            for start in range(0, 20, 5):
                tasks.start_soon(acknowledge_all, one, "a", range(start, start + 5))
                tasks.start_soon(acknowledge_all, other, "a", range(start + 3, start + 8))
    record = await other.get("a")
    assert record is not None
    assert record.acknowledged == frozenset(range(23))
    await one.aclose()
    await other.aclose()


async def test_many_who_make_the_journal_at_the_same_moment_all_get_it(tmp_path: Path) -> None:
    """Guards against "database is locked": switching to a write-ahead log does not wait for whoever does the same."""
    for number in range(10):
        journals = [Journal(tmp_path / str(number), API) for _ in range(8)]
        with anyio.fail_after(90):
            async with anyio.create_task_group() as tasks:
                for journal in journals:
                    tasks.start_soon(journal.get, "a")
        for journal in journals:
            await journal.aclose()


async def test_an_upload_that_is_held_is_busy_for_everyone_else_until_it_is_let_go(tmp_path: Path) -> None:
    one, other = Journal(tmp_path, API), Journal(tmp_path, API)
    async with one.claim("a"):
        with pytest.raises(UploadBusyError, match="Another process on this machine is sending") as caught:
            async with other.claim("a"):
                pytest.fail("it was held")
        assert caught.value.audio_id == "a"
        async with other.claim("b"):
            pass
    async with other.claim("a"):
        pass


async def test_the_claim_of_a_process_that_is_killed_is_free_at_once(tmp_path: Path) -> None:
    journal = Journal(tmp_path, API)
    with anyio.fail_after(90):
        async with await anyio.open_process(
            [sys.executable, "-c", HOLD, str(tmp_path), API], stdin=subprocess.DEVNULL, stderr=None
        ) as process:
            assert process.stdout is not None
            assert (await process.stdout.receive()).strip() == b"held"
            with pytest.raises(UploadBusyError):
                async with journal.claim("a"):
                    pytest.fail("another process held it")
            process.kill()
            await process.wait()
            async with journal.claim("a"):
                pass


def scribble_over(path: Path) -> None:
    path.write_bytes(b"this is no database " * 1_000)


def cut_in_half(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def spoil_pages(path: Path) -> None:
    """Spoil pages in the middle, so that SQLite opens the file and only finds out when it looks closer."""
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(b"\xff" * 4096)


@pytest.mark.parametrize("damage", [scribble_over, cut_in_half, spoil_pages])
async def test_a_damaged_journal_is_set_aside_with_a_warning_and_a_new_one_begun(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, damage: Callable[[Path], None]
) -> None:
    journal = Journal(tmp_path, API)
    await fill(journal)
    await journal.aclose()
    damage(journal.path)
    damaged = journal.path.read_bytes()

    assert (await journal.begin("a", SONG, MIB)).parts_done == 0
    assert await journal.get("before") is None
    await journal.aclose()

    (aside,) = tmp_path.glob("journal-damaged-*.sqlite3")
    assert aside.read_bytes() == damaged
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert f"set aside as {aside}" in record.getMessage()


@pytest.mark.skipif(sys.platform == "win32", reason="a file that another process has open cannot be moved there")
async def test_the_log_of_a_damaged_journal_is_set_aside_with_it_or_it_would_be_played_into_the_new_one(
    tmp_path: Path,
) -> None:
    journal = Journal(tmp_path, API)
    await fill(journal)
    await journal.aclose()
    with closing(sqlite3.connect(journal.path)) as another_process:
        another_process.execute("SELECT * FROM upload").fetchall()
        spoil_pages(journal.path)
        await journal.begin("a", SONG, MIB)
    await journal.aclose()
    assert len(list(tmp_path.glob("journal-damaged-*.sqlite3-wal"))) == 1
    record = await journal.get("a")
    await journal.aclose()
    assert record is not None


async def test_a_journal_of_a_newer_version_is_left_as_it_is(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    await journal.aclose()
    change(journal, f"PRAGMA user_version = {VERSION + 1}")
    before = journal.path.read_bytes()
    with pytest.raises(JournalError, match=r"newer version of this program, so nothing was sent\. Bring this one up"):
        await journal.begin("b", SONG, MIB)
    await journal.aclose()
    assert journal.path.read_bytes() == before


async def test_a_directory_that_cannot_be_made_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    journal = Journal(tmp_path / "file" / "state", API)
    with pytest.raises(JournalError, match="or set AIOZ_STREAM_STATE_DIR to one that is") as caught:
        await journal.get("a")
    assert caught.value.path == journal.path
    with pytest.raises(JournalError, match="cannot be used"):
        async with journal.claim("a"):
            pytest.fail("there is nowhere to hold it")


async def test_a_table_of_another_program_is_not_touched(tmp_path: Path) -> None:
    journal = Journal(tmp_path, API)
    with closing(sqlite3.connect(journal.path)) as db, db:
        db.execute("CREATE TABLE upload (theirs TEXT)")
        db.execute("INSERT INTO upload VALUES ('kept')")
    with pytest.raises(JournalError, match="already exists"):
        await journal.begin("a", SONG, MIB)
    with closing(sqlite3.connect(journal.path)) as db:
        assert db.execute("SELECT theirs FROM upload").fetchall() == [("kept",)]


async def test_nothing_of_a_file_is_kept_but_its_path_size_and_time(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB, "request")
    await journal.acknowledge("a", 0, "md5")
    with closing(sqlite3.connect(journal.path)) as db:
        (upload,) = db.execute("SELECT * FROM upload").fetchall()
        parts = db.execute("SELECT * FROM part").fetchall()
    *known, created, updated, _seal = upload
    assert known == [API, "a", str(SONG.path), SONG.size, SONG.modified_ns, MIB, "request", "unsent"]
    assert created <= updated <= time.time()
    assert [part[:-1] for part in parts] == [(API, "a", 0, "md5")]


async def test_a_row_that_was_changed_from_outside_makes_the_journal_a_damaged_one(journal: Journal) -> None:
    """Guards against half a file that counts as the whole of it, because one bit of the parts' size is wrong."""
    await journal.begin("a", SONG, MIB)
    await acknowledge_all(journal, "a", range(5))
    for statement in ("UPDATE upload SET part_size = 2 * part_size", "UPDATE part SET part_index = part_index + 5"):
        await journal.aclose()
        change(journal, statement)
        assert await journal.get("a") is None
        await journal.begin("a", SONG, MIB)
        await acknowledge_all(journal, "a", range(5))


async def test_a_journal_of_the_version_without_seals_begins_anew(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    await journal.aclose()
    for table in ("upload", "part"):
        change(journal, f"ALTER TABLE {table} DROP COLUMN seal")
    change(journal, "PRAGMA user_version = 1")
    assert await journal.get("a") is None
    assert (await journal.begin("a", SONG, MIB)).parts_done == 0


async def test_a_journal_whose_schema_is_no_text_any_more_is_a_damaged_one(journal: Journal) -> None:
    """Guards against a UnicodeDecodeError: SQLite quotes the schema in its error, and Python cannot read that."""
    await journal.begin("a", SONG, MIB)
    await journal.aclose()
    change(journal, "PRAGMA wal_checkpoint(TRUNCATE)")
    journal.path.write_bytes(journal.path.read_bytes().replace(b"CREATE TABLE part", b"CREATE \xd4ABLE part"))
    assert await journal.get("a") is None


@pytest.mark.skipif(sys.platform == "win32", reason="a directory has no such mode there; a profile is its user's alone")
async def test_what_is_noted_is_for_its_user_alone(journal: Journal) -> None:
    await journal.begin("a", SONG, MIB)
    assert journal.path.parent.stat().st_mode & 0o077 == 0
