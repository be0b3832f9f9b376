"""The record of uploads, in SQLite: which parts AIOZ Stream acknowledged, and whether complete was sent.

Nothing on the API's side lists the parts that arrived, so an upload can go on after an interruption only by this. It
holds no key, and nothing of a file but its path, size and modification time. Several processes may use it at once.
"""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeVar

import anyio
import anyio.to_thread
import filelock

from .errors import JournalError, UploadBusyError
from .foreign_text import harmless

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable

    from .source import Source

logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

VERSION = 2
# AIOZ Stream deletes an audio object that was not completed after 24 hours; an hour less leaves time to send the rest.
RESUMABLE_SECONDS = 23 * 3600
KEEP_SECONDS = 7 * 24 * 3600
# Another process writes a few rows at a time, so a wait of this many seconds means that something is wrong.
_BUSY_SECONDS = 10.0

_SCHEMA = """
CREATE TABLE upload (
    api_url TEXT NOT NULL, audio_id TEXT NOT NULL,
    path TEXT NOT NULL, size INTEGER NOT NULL, modified_ns INTEGER NOT NULL, part_size INTEGER NOT NULL,
    request TEXT, complete TEXT NOT NULL DEFAULT 'unsent', created REAL NOT NULL, updated REAL NOT NULL,
    seal TEXT NOT NULL,
    PRIMARY KEY (api_url, audio_id)
) STRICT;
CREATE TABLE part (
    api_url TEXT NOT NULL, audio_id TEXT NOT NULL, part_index INTEGER NOT NULL, md5 TEXT NOT NULL,
    seal TEXT NOT NULL,
    PRIMARY KEY (api_url, audio_id, part_index),
    FOREIGN KEY (api_url, audio_id) REFERENCES upload ON DELETE CASCADE
) STRICT;
"""

_DROP = "DROP TABLE part; DROP TABLE upload;"

# What never changes of a row. Its seal tells when it did after all: with one bit of a part's size wrong, half a file
# would count as the whole of it.
_SEALED = {
    "upload": "api_url, audio_id, path, size, modified_ns, part_size",
    "part": "api_url, audio_id, part_index, md5",
}

_SELECT = "SELECT audio_id, path, size, modified_ns, part_size, complete FROM upload WHERE api_url = ?"

Complete = Literal["unsent", "sent", "settled"]


@dataclass(frozen=True)
class Record:
    """What the journal knows of one upload.

    ``path``, ``size`` (bytes) and ``modified_ns`` are the file's when its first part was sent; ``part_size`` (bytes)
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
        self.path = directory / "journal.sqlite3"
        self._locks = directory / "locks"
        self._api_url = api_url
        self._connection: sqlite3.Connection | None = None
        self._thread_lock = threading.Lock()

    async def aclose(self) -> None:
        """Close the file."""
        with anyio.CancelScope(shield=True):
            await anyio.to_thread.run_sync(self._close)

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
                f"INSERT INTO upload ({_SEALED['upload']}, request, created, updated, seal)"  # noqa: S608 - a constant
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",
                (*fixed, request, now, now, _seal(fixed)),
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
                f"INSERT INTO part ({_SEALED['part']}, seal) VALUES (?, ?, ?, ?, ?) ON CONFLICT DO NOTHING",  # noqa: S608 - likewise
                (*fixed, _seal(fixed)),
            )
            self._touch(db, audio_id)

        with anyio.CancelScope(shield=True):
            await self._run(insert)

    async def claim_complete(self, audio_id: str) -> bool:
        """Note that complete is about to be sent; False if it was noted before, here or in another process."""

        def update(db: sqlite3.Connection) -> bool:
            return (
                db.execute(
                    "UPDATE upload SET complete = 'sent', updated = ?"
                    " WHERE api_url = ? AND audio_id = ? AND complete = 'unsent'",
                    (time.time(), self._api_url, audio_id),
                ).rowcount
                == 1
            )

        return await self._run(update)

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
        lock = filelock.FileLock(self._locks / f"{name}.lock", timeout=0, thread_local=False)
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
            self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
            lock.acquire()
        except filelock.Timeout:
            raise
        except OSError as error:
            raise self._unusable(error) from error

    async def _run(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        return await anyio.to_thread.run_sync(self._transact, action)

    def _transact(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        with self._thread_lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection as db:
                    db.execute("BEGIN IMMEDIATE")
                    return action(db)
            except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
                raise self._unusable(error) from error

    def _open(self) -> sqlite3.Connection:
        self._locks.mkdir(mode=0o700, parents=True, exist_ok=True)
        # One at a time: the switch to a write-ahead log waits for nobody, and of two who find the journal damaged, the
        # second would set aside the first one's new one.
        with filelock.FileLock(self._locks / "opening.lock", timeout=_BUSY_SECONDS):
            return self._open_alone()

    def _open_alone(self) -> sqlite3.Connection:
        """Open the file, or a new one where it is damaged: SQLite may quote from a damaged one what is no UTF-8."""
        try:
            return self._connect()
        except sqlite3.OperationalError:
            raise
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:
            aside = self.path.with_name(f"journal-damaged-{time.time_ns()}.sqlite3")
            # With the files that SQLite keeps beside it, or it would play them into the new one.
            for suffix in ("", "-wal", "-shm"):
                if (file := Path(f"{self.path}{suffix}")).exists():
                    file.rename(f"{aside}{suffix}")
            logger.warning(
                "The journal of uploads was damaged (%s). It was set aside as %s; uploads begin anew.",
                harmless(str(error)),
                aside,
            )
            return self._connect()

    def _connect(self) -> sqlite3.Connection:
        db = sqlite3.connect(self.path, timeout=_BUSY_SECONDS, isolation_level=None, check_same_thread=False)
        # Text that is damaged has the wrong seal; it is no reason to fail before that is seen.
        db.text_factory = partial(str, encoding="utf-8", errors="replace")
        try:
            db.execute("PRAGMA journal_mode = WAL")
            # A part that was acknowledged, and above all that complete was sent, must outlive a loss of power.
            db.execute("PRAGMA synchronous = FULL")
            db.execute("PRAGMA foreign_keys = ON")
            _require_sound(db)
            with db:
                db.execute("BEGIN IMMEDIATE")
                self._migrate(db)
                _require_seals(db)
        except BaseException:
            db.close()
            raise
        return db

    def _migrate(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if not 0 <= version <= VERSION:
            raise JournalError(
                f"The journal of uploads, {self.path}, is from a newer version of this program, so nothing was sent. "
                "Bring this one up to date, or set AIOZ_STREAM_STATE_DIR to another directory.",
                path=self.path,
            )
        if version < VERSION:
            # The first version had no seals, and was never released: its uploads begin anew.
            for statement in ((_DROP if version else "") + _SCHEMA).split(";"):
                db.execute(statement)
            db.execute(f"PRAGMA user_version = {VERSION}")

    def _close(self) -> None:
        with self._thread_lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

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

    def _unusable(self, error: Exception) -> JournalError:
        return JournalError(
            f"The journal of uploads, {self.path}, cannot be used ({harmless(str(error))}), so nothing more was sent. "
            "Make its directory writable, or set AIOZ_STREAM_STATE_DIR to one that is.",
            path=self.path,
        )


def _require_sound(db: sqlite3.Connection) -> None:
    if (problem := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(problem)


def _require_seals(db: sqlite3.Connection) -> None:
    for table, columns in _SEALED.items():
        for *fixed, seal in db.execute(f"SELECT {columns}, seal FROM {table}"):  # noqa: S608 - constants
            if seal != _seal(fixed):
                raise sqlite3.DatabaseError(f"a row of table {table} is not what it was")


def _seal(fixed: Iterable[object]) -> str:
    return hashlib.blake2b(repr(tuple(fixed)).encode(), digest_size=8).hexdigest()
