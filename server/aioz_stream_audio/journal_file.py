"""The journal's file: opened by one process at a time, looked through for damage, and set aside if there is any."""

from __future__ import annotations

import hashlib
import logging
import sqlite3
import threading
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import filelock

from .errors import JournalError
from .foreign_text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

logger = logging.getLogger(__name__)
_Result = TypeVar("_Result")

VERSION = 2
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
SEALED = {
    "upload": "api_url, audio_id, path, size, modified_ns, part_size",
    "part": "api_url, audio_id, part_index, md5",
}


class JournalFile:
    """A SQLite file in ``directory``, made when it is first needed; of all threads, one uses it at a time."""

    def __init__(self, directory: Path) -> None:
        self.path = directory / "journal.sqlite3"
        self.locks = directory / "locks"
        self._connection: sqlite3.Connection | None = None
        self._thread_lock = threading.Lock()

    def transact(self, action: Callable[[sqlite3.Connection], _Result]) -> _Result:
        """Run ``action`` in a transaction of its own, which `JournalError` ends and undoes."""
        with self._thread_lock:
            try:
                if self._connection is None:
                    self._connection = self._open()
                with self._connection as db:
                    db.execute("BEGIN IMMEDIATE")
                    return action(db)
            except (sqlite3.Error, UnicodeDecodeError, OSError) as error:
                raise self.unusable(error) from error

    def make_directories(self) -> None:
        """Make the directory, and that of the locks; the names and titles in there are nobody else's business."""
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.locks.mkdir(mode=0o700, exist_ok=True)

    def close(self) -> None:
        """Close the file; it opens again when it is next used."""
        with self._thread_lock:
            if self._connection is not None:
                self._connection.close()
                self._connection = None

    def unusable(self, error: Exception) -> JournalError:
        """Make the error that says that the file cannot be used, and why."""
        return JournalError(
            f"The journal of uploads, {self.path}, cannot be used ({harmless(str(error))}), so nothing more was sent. "
            "Make its directory writable, or set AIOZ_STREAM_STATE_DIR to one that is.",
            path=self.path,
        )

    def _open(self) -> sqlite3.Connection:
        self.make_directories()
        # One at a time: the switch to a write-ahead log waits for nobody, and of two who find the journal damaged, the
        # second would set aside the first one's new one.
        with filelock.FileLock(self.locks / "opening.lock", timeout=_BUSY_SECONDS):
            return self._open_or_renew()

    def _open_or_renew(self) -> sqlite3.Connection:
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


def _require_sound(db: sqlite3.Connection) -> None:
    if (problem := db.execute("PRAGMA quick_check(1)").fetchone()[0]) != "ok":
        raise sqlite3.DatabaseError(problem)


def _require_seals(db: sqlite3.Connection) -> None:
    for table, columns in SEALED.items():
        for *fixed, seal in db.execute(f"SELECT {columns}, seal FROM {table}"):  # noqa: S608 - constants
            if seal != seal_of(fixed):
                raise sqlite3.DatabaseError(f"a row of table {table} is not what it was")


def seal_of(fixed: Iterable[object]) -> str:
    """Give the seal of a row whose `SEALED` columns have these values."""
    return hashlib.blake2b(repr(tuple(fixed)).encode(), digest_size=8).hexdigest()
