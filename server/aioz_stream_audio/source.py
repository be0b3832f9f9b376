"""The local file: found by the name that a person or a model gave, recognised as audio, and held to what it was."""

from __future__ import annotations

import math
import os
import re
import stat
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from tinytag import TinyTag, TinyTagException

from .audio_format import HEAD_BYTES, describe_other, recognise
from .errors import NotAudioError, SourceChangedError, SourceNotFoundError, SourceRefusedError
from .local_path import GIVE_AUDIO, audio_names, listed, meant, not_found, shown
from .models import FILE_MAX_BYTES

if TYPE_CHECKING:
    from collections.abc import Sequence

_NAMES_MAX = 3
_CONTROLS = r"[\0-\x1f\x7f-\x9f\ud800-\udfff]+"
# A system's own files: some claim to be regular ones with content.
_SYSTEM_ROOTS = (Path("/proc"), Path("/sys"))


@dataclass(frozen=True)
class Source:
    """A local audio file as it was when it was found.

    ``path`` is absolute and free of links, ``size`` is in bytes, ``modified_ns`` in nanoseconds since 1970. ``file_id``
    is the device and the number that the file system knows it by, ``format`` a name such as ``MP3``.
    """

    path: Path
    size: int
    modified_ns: int
    file_id: tuple[int, int]
    format: str
    media_type: str

    @property
    def path_text(self) -> str:
        """The path as text that UTF-8, and so JSON and SQLite, can carry; a name may hold bytes that are no text."""
        return str(self.path).encode("utf-8", "backslashreplace").decode()

    def open(self) -> BinaryIO:
        """Open the file again, for reading.

        Raises:
            SourceChangedError: it is gone, cannot be read any more, or is not the file that was found.
        """
        with ExitStack() as undo:
            try:
                file = undo.enter_context(_open(self.path))
            except FileNotFoundError:
                self._fail("was moved or deleted")
            except OSError as error:
                self._fail(f"can no longer be read ({error.strerror})")
            self.check(file)
            undo.pop_all()
        return file

    def check(self, file: BinaryIO) -> None:
        """Check that ``file``, open, is what was found: one system call, cheap enough for after every read.

        Raises:
            SourceChangedError: it is another file, or its size or modification time is another one.
        """
        status = os.fstat(file.fileno())
        if (status.st_dev, status.st_ino) != self.file_id:
            self._fail("was replaced by another file")
        if status.st_size != self.size:
            self._fail(f"changed its size from {self.size} to {status.st_size} bytes")
        if status.st_mtime_ns != self.modified_ns:
            self._fail("was written to")

    def read(self, file: BinaryIO, size: int) -> bytes:
        """Read ``size`` bytes of ``file``, open, and check that they are still of what was found.

        Raises:
            SourceChangedError: they are not, or the disk fails.
        """
        try:
            data = file.read(size)
            self.check(file)
        except OSError as error:
            self._fail(f"can no longer be read ({error.strerror})")
        if len(data) < size:
            self._fail("ends before its size says so, or has been cut")
        return data

    def _fail(self, what: str) -> NoReturn:
        raise SourceChangedError(
            f"{shown(self.path)} {what} since its upload began, so nothing was completed. Put the original back and "
            "try again, or start over with a new upload.",
            path=self.path,
        )


@dataclass(frozen=True)
class Tags:
    """What a file says of itself; None is what it does not say, or says in a way that is not understood."""

    title: str | None = None
    duration_seconds: float | None = None
    channels: int | None = None


def read_tags(source: Source) -> Tags:
    """Read the tags of ``source``. Never fails: they are a convenience, and what cannot be read is None."""
    try:
        with source.open() as file:
            tag = TinyTag.get(file_obj=file)
    except (TinyTagException, SourceChangedError, OSError):
        return Tags()
    title = " ".join(re.sub(_CONTROLS, " ", tag.title or "").split())
    duration = tag.duration if tag.duration and math.isfinite(tag.duration) else None
    return Tags(title or None, duration, tag.channels or None)


def find_source(path: str | os.PathLike[str], allowed_dirs: Sequence[Path] | None = None) -> Source:
    """Find the audio file that ``path`` means, and look at its content; blocking.

    ``path`` may be relative, begin with ``~``, be a ``file:`` URL, stand in quotes, or spell a name in another Unicode
    normal form than the file system does. With ``allowed_dirs`` it must be inside one of them, links resolved.

    Raises:
        SourceNotFoundError: there is nothing there.
        SourceRefusedError: what is there is not a file, is empty, unreadable, too large, or outside ``allowed_dirs``.
        NotAudioError: its content is not audio.
        SourceChangedError: it was replaced while it was being looked at.
    """
    given = os.fsdecode(path)
    resolved = Path(given)
    try:
        resolved = Path(os.path.realpath(meant(given)))
        _check_allowed(resolved, allowed_dirs)
        _check_kind(resolved, resolved.stat())
        with _open(resolved) as file:
            return _examine(resolved, file)
    except (FileNotFoundError, NotADirectoryError):
        raise not_found(given, resolved) from None
    except PermissionError:
        raise SourceRefusedError(
            f"{shown(resolved)} may not be read by this server, so nothing was sent. Allow it to be read, or copy "
            "the file elsewhere.",
            path=resolved,
        ) from None
    except OSError as error:
        raise SourceRefusedError(
            f"{shown(resolved)} cannot be read ({error.strerror}), so nothing was sent. {GIVE_AUDIO}", path=resolved
        ) from None
    except ValueError:
        raise SourceNotFoundError(
            f"No file can be called {shown(given)}, so nothing was sent. {GIVE_AUDIO}", path=resolved
        ) from None


def _open(path: Path) -> BinaryIO:
    # A pipe that took the file's place would otherwise be waited on for ever.
    nonblocking = getattr(os, "O_NONBLOCK", 0)
    return open(path, "rb", opener=lambda name, flags: os.open(name, flags | nonblocking))


def _examine(path: Path, file: BinaryIO) -> Source:
    status = os.fstat(file.fileno())
    _check_kind(path, status)
    # A link that took the place of the file, or of a directory on the way, since they were resolved.
    if os.path.realpath(path) != str(path) or not os.path.samestat(path.stat(), status):
        raise SourceChangedError(
            f"{shown(path)} was replaced while it was being opened, so nothing was sent. Try again.", path=path
        )
    audio_format = recognise(file)
    if audio_format is None:
        file.seek(0)
        what = describe_other(file.read(HEAD_BYTES))
        raise NotAudioError(
            f"{shown(path)} is not audio: it looks like {what}. Nothing was sent. {GIVE_AUDIO}", path=path
        )
    file_id = (status.st_dev, status.st_ino)
    return Source(path, status.st_size, status.st_mtime_ns, file_id, audio_format.name, audio_format.media_type)


def _check_allowed(path: Path, allowed_dirs: Sequence[Path] | None) -> None:
    if allowed_dirs is None or any(_same(parent, root) for root in allowed_dirs for parent in path.parents):
        return
    allowed = ", ".join(shown(root) for root in allowed_dirs) or "none"
    raise SourceRefusedError(
        f"{shown(path)} is outside the directories that may be uploaded from ({allowed}), so nothing was sent. Move "
        "the file there, or change AIOZ_STREAM_ALLOWED_DIRS.",
        path=path,
    )


def _same(one: Path, other: Path) -> bool:
    """Say whether two directories are the same one, whatever their names' case or form; not if one is not there."""
    try:
        return one.samefile(other.expanduser())
    except (OSError, ValueError, RuntimeError):
        return False


def _check_kind(path: Path, status: os.stat_result) -> None:
    """Refuse what is not a regular file with content that AIOZ Stream takes."""
    if stat.S_ISDIR(status.st_mode):
        names = audio_names(path)
        inside = f"There is audio in it: {listed(names)}." if 0 < len(names) <= _NAMES_MAX else "Name a file in it."
        what = f"is a directory. {inside}"
    elif not stat.S_ISREG(status.st_mode) or any(path.is_relative_to(root) for root in _SYSTEM_ROOTS):
        what = f"is a pipe, a socket, a device or a file of the system's own. {GIVE_AUDIO}"
    elif not status.st_size:
        what = f"is empty. {GIVE_AUDIO}"
    elif status.st_size > FILE_MAX_BYTES:
        what = f"has {status.st_size} bytes, and AIOZ Stream takes {FILE_MAX_BYTES} at most. Make it smaller."
    else:
        return
    raise SourceRefusedError(f"Nothing was sent: {shown(path)} {what}", path=path)
