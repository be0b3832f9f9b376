"""The record of uploads, in SQLite: which parts AIOZ Stream acknowledged, and whether complete was sent.

Nothing on the API's side lists the parts that arrived, so an upload can go on after an interruption only by this. It
holds no key, and of a file its path, size and modification time, the MD5 of its parts, and what was asked for with it:
title, description and options. Several processes may use it at once.
"""

from __future__ import annotations

import hashlib
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread
import filelock

from .errors import UploadBusyError
from .journal_file import SEALED, JournalFile, seal_of

if TYPE_CHECKING:
    import sqlite3
    from collections.abc import AsyncIterator, Callable
    from pathlib import Path

    from .source import Source

_Result = TypeVar("_Result")

# AIOZ Stream deletes an audio object that was not completed after 24 hours; an hour less leaves time to send the rest.
RESUMABLE_SECONDS = 23 * 3600
KEEP_SECONDS = 7 * 24 * 3600

_SELECT = "SELECT audio_id, path, size, modified_ns, part_size, complete FROM upload WHERE api_url = ?"

Complete = Literal["unsent", "sent", "settled"]


@dataclass(frozen=True)
class Record:
    """What the journal knows of one upload.

    ``path``, ``size`` (bytes) and ``modified_ns`` are the file's when its upload began; ``part_size`` (bytes)
    holds for the whole upload; ``acknowledged`` are the indexes of the parts that AIOZ Stream has.
    """

    audio_id: str
    path: str
    size: int
    modified_ns: int
    part_size: int
    complete: Complete
    acknowledged: frozenset[int]

    @property
    def parts_total(self) -> int:
        """Give the number of parts."""
        return -(-self.size // self.part_size)

    @property
    def parts_done(self) -> int:
        """Give the number of parts that AIOZ Stream has."""
        return len(self.acknowledged)

    def is_of(self, source: Source) -> bool:
        """Whether ``source`` is the file that this upload began with, unchanged."""
        return (self.path, self.size, self.modified_ns) == (source.path_text, source.size, source.modified_ns)


class Journal:
    """The uploads to the API at ``api_url``, kept in ``directory``, which is made when it is first needed.

    Every method runs SQLite in a worker thread and raises `JournalError` if that cannot be done.
    """

    def __init__(self, directory: Path, api_url: str) -> None:
        self._file = JournalFile(directory)
        self._api_url = api_url

    @property
    def path(self) -> Path:
        """Give where the file is."""
        return self._file.path

    async def aclose(self) -> None:
        """Close the file."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._file.close)

    async def get(self, audio_id: str) -> Record | None:
        """Give what is known of an upload, or None."""
        return await self._run(lambda db: self._record(db, "audio_id = ?", audio_id))

    async def find_resumable(self, source: Source, request: str) -> Record | None:
        """Give the newest upload of this very file, created by the same ``request``, that is not settled, or None."""
        return await self._run(
            lambda db: self._record(
                db,
                "path = ? AND size = ? AND modified_ns = ? AND request = ? AND complete <> 'settled' AND created > ?",
                source.path_text,
                source.size,
                source.modified_ns,
                request,
                time.time() - RESUMABLE_SECONDS,
            )
        )

    async def begin(self, audio_id: str, source: Source, part_size: int, request: str | None = None) -> Record:
        """Note that an upload of ``source`` begins; one that was begun before stays as it is. Gives what holds.

        ``request`` is the JSON body that created the audio object, for `find_resumable`. Old uploads are forgotten.
        """
        now = time.time()

        def insert(db: sqlite3.Connection) -> Record:
            db.execute("DELETE FROM upload WHERE updated < ?", (now - KEEP_SECONDS,))
            fixed = (self._api_url, audio_id, source.path_text, source.size, source.modified_ns, part_size)
            db.execute(
                f"INSERT INTO upload ({SEALED['upload']}, request, created, updated, seal)"  # noqa: S608 - a constant
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*fixed, request, now, now, seal_of(fixed)),
            )
            record = self._record(db, "audio_id = ?", audio_id)
            assert record is not None  # noqa: S101 - put there one statement ago, in the same transaction
            return record

        return await self._run(insert)

    async def acknowledge(self, audio_id: str, index: int, md5: str) -> None:
        """Note that AIOZ Stream has a part. Done even while the caller is being cancelled."""

        def insert(db: sqlite3.Connection) -> None:
            fixed = (self._api_url, audio_id, index, md5)
            db.execute(
                f"INSERT INTO part ({SEALED['part']}, seal) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608 - likewise
                (*fixed, seal_of(fixed)),
            )
            self._touch(db, audio_id)

        with anyio.CancelScope(shield=True):
            await self._run(insert)

    async def claim_complete(self, audio_id: str) -> bool:
        """Note that complete is about to be sent; False if it was noted before, here or in another process.

        Whoever is cancelled meanwhile hears of it afterwards, and knows which it was.
        """

        def update(db: sqlite3.Connection) -> bool:
            return (
                db.execute(
                    "UPDATE upload SET complete = 'sent', updated = ?"
                    " WHERE api_url = ? AND audio_id = ? AND complete = 'unsent'",
                    (time.time(), self._api_url, audio_id),
                ).rowcount
                == 1
            )

        with anyio.CancelScope(shield=True):
            claimed = await self._run(update)
        return claimed  # noqa: RET504 - a scope may swallow, so mypy wants it outside

    async def release_complete(self, audio_id: str) -> None:
        """Note that complete was not taken after all: it certainly did nothing, so it may be sent another time."""
        with anyio.CancelScope(shield=True):
            await self._run(
                lambda db: db.execute(
                    "UPDATE upload SET complete = 'unsent' WHERE api_url = ? AND audio_id = ?",
                    (self._api_url, audio_id),
                )
            )

    async def settle(self, audio_id: str) -> None:
        """Note that whoever began an upload was told what came of it: the same request begins another from now on."""
        await self._run(
            lambda db: db.execute(
                "UPDATE upload SET complete = 'settled' WHERE api_url = ? AND audio_id = ?",
                (self._api_url, audio_id),
            )
        )

    async def forget(self, audio_id: str) -> None:
        """Forget an upload, because its audio object is gone."""
        await self._run(
            lambda db: db.execute("DELETE FROM upload WHERE api_url = ? AND audio_id = ?", (self._api_url, audio_id))
        )

    @asynccontextmanager
    async def claim(self, audio_id: str) -> AsyncIterator[None]:
        """Hold an upload for this process. The operating system lets go of it when the process ends, however it ends.

        Raises:
            UploadBusyError: another process holds it.
        """
        name = hashlib.sha256(f"{self._api_url} {audio_id}".encode()).hexdigest()[:32]
        lock = filelock.FileLock(self._file.locks / f"{name}.lock", timeout=0, thread_local=False)
        try:
            await anyio.to_thread.run_sync(self._acquire, lock)
        except filelock.Timeout:
            raise UploadBusyError(
                f"Another process on this machine is sending the file of audio {audio_id} right now, so nothing was "
                "sent from here. Wait for it, then ask again: what it sent is not sent twice.",
                audio_id=audio_id,
            ) from None
        try:
            yield
        finally:
            lock.release()

    def _acquire(self, lock: filelock.BaseFileLock) -> None:
        try:
            self._file.make_directories()
            lock.acquire()
        except filelock.Timeout:
            raise
        except OSError as error:
            raise self._file.unusable(error) from error

    async def _run(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await anyio.to_thread.run_sync(self._file.transact, action)

    def _record(self, db: sqlite3.Connection, where: str, *values: object) -> Record | None:
        row = db.execute(
            f"{_SELECT} AND {where} ORDER BY created DESC LIMIT 1",
            (self._api_url, *values),
        ).fetchone()
        if row is None:
            return None
        parts = db.execute("SELECT part_index FROM part WHERE api_url = ? AND audio_id = ?", (self._api_url, row[0]))
        audio_id, path, size, modified_ns, part_size, complete = row
        acknowledged = frozenset(index for (index,) in parts)
        return Record(audio_id, path, size, modified_ns, part_size, complete, acknowledged)

    def _touch(self, db: sqlite3.Connection, audio_id: str) -> None:
        db.execute(
            "UPDATE upload SET updated = ? WHERE api_url = ? AND audio_id = ?", (time.time(), self._api_url, audio_id)
        )
