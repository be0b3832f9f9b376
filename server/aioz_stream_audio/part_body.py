"""A part as a multipart form that hashes itself while it is sent, so that each byte is read from disk once.

The form's fields stand in the order ``file``, ``index``, ``hash``: the MD5 is needed only after the file's last byte.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import TYPE_CHECKING

import anyio.to_thread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from typing import BinaryIO

    from .plan import Part
    from .source import Source

# Bytes read, hashed and handed to the connection at once. The larger, the less processor time a file takes, and the
# more memory: a chunk for each part on the way, and what the event loop has of it. Measured in benchmarks/README.md.
# But a call fails when none was taken for a minute, so a slow line gets small chunks: at the least, it may carry 16 KiB
# a minute and connection.
CHUNK_MIN = 16 * 1024
CHUNK_MAX = 2560 * 1024
# Seconds in which a line takes a chunk: faster than this the next one is larger, slower than that it is smaller.
_FAST, _SLOW = 0.05, 1.0

_CRLF = b"\r\n"
_MD5_HEX_LENGTH = 32


class Pace:
    """How many bytes a line is given at once, learnt from how long it took for those before.

    The parts of a file share it.
    """

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget what was learnt, for the line broke."""
        self.chunk_size = 4 * CHUNK_MIN

    def took(self, size: int, seconds: float) -> None:
        """Learn from a chunk of ``size`` bytes, as large as the pace was then, that went out in ``seconds``."""
        if seconds < _FAST:
            self.chunk_size = min(2 * size, CHUNK_MAX)
        elif seconds > _SLOW:
            self.chunk_size = max(size // 2, CHUNK_MIN)


class PartBody:
    """The multipart form of one part, to be iterated over once and then closed.

    ``pace`` says how much goes out at once. ``sent_bytes`` is how many bytes of the file were handed to the connection,
    ``md5`` their hash in lower-case hex, whole once the iteration is over. Raises `SourceChangedError` before the form
    ends if the file is not the one the upload began with, so that AIOZ Stream never takes a part of another file for
    one of this.
    """

    def __init__(self, source: Source, part: Part, pace: Pace) -> None:
        self._source = source
        self._part = part
        self._pace = pace
        self._hash = hashlib.md5(usedforsecurity=False)
        self._file: BinaryIO | None = None
        self.sent_bytes = 0
        boundary = secrets.token_hex(16)
        # The file's own name is the user's business; its suffix helps whoever looks at the media type.
        suffix = source.path.suffix.lower()
        name = f"audio{suffix}" if suffix[1:].isascii() and suffix[1:].isalnum() else "audio"
        self._head = _field(boundary, f'file"; filename="{name}', source.media_type)
        self._index = _CRLF + _field(boundary, "index") + str(part.index).encode()
        self._hash_field = _CRLF + _field(boundary, "hash")
        self._tail = f"\r\n--{boundary}--\r\n".encode()
        around = len(self._head) + len(self._index) + len(self._hash_field) + _MD5_HEX_LENGTH + len(self._tail)
        self.headers: Mapping[str, str] = {
            "Content-Type": f"multipart/form-data; boundary={boundary}",
            "Content-Length": str(part.size + around),
            "Content-Range": part.content_range,
        }

    @property
    def md5(self) -> str:
        """Give the MD5 of the file's bytes so far, in lower-case hex."""
        return self._hash.hexdigest()

    async def __aiter__(self) -> AsyncIterator[bytes]:
        yield self._head
        while left := self._part.size - self.sent_bytes:
            size = self._pace.chunk_size
            chunk = await anyio.to_thread.run_sync(self._read, min(left, size))
            began = time.monotonic()
            yield chunk
            self._pace.took(size, time.monotonic() - began)
            self.sent_bytes += len(chunk)
            # The layers that send hold on to what they were given last: not to this chunk, while the next one is read.
            del chunk
            yield b""
        yield self._index + self._hash_field + self.md5.encode() + self._tail

    def close(self) -> None:
        """Close the file, however far the iteration came."""
        if self.sent_bytes < self._part.size:
            self._pace.reset()
        if self._file is not None:
            self._file.close()

    def _read(self, size: int) -> bytes:
        """Read and hash a chunk."""
        if self._file is None:
            self._file = self._source.open()
            self._file.seek(self._part.start)
        chunk = self._source.read(self._file, size)
        self._hash.update(chunk)
        return chunk


def _field(boundary: str, name: str, media_type: str | None = None) -> bytes:
    content_type = f"\r\nContent-Type: {media_type}" if media_type else ""
    return f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"{content_type}\r\n\r\n'.encode()
