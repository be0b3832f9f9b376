"""A part's multipart form, read while it arrives: the file goes to disk, and no part is whole in memory."""

from __future__ import annotations

import hashlib
import re
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
from anyio import to_thread
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

from .refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from starlette.requests import Request

# Enough for a hop to a worker thread to cost little beside the work done there.
CHUNK = 1024 * 1024
FIELD_MAX = 1024
_INDEX = re.compile(r"[0-9]{1,9}")


@dataclass(frozen=True)
class PartForm:
    """What a form held: ``claimed_md5`` is its ``hash`` field, ``md5`` and ``size`` (bytes) those of its file."""

    index: int
    claimed_md5: str
    md5: str
    size: int


class _Fields:
    """What the push parser calls: it gathers the fields, and the file's bytes until they are taken."""

    def __init__(self, boundary: bytes) -> None:
        self.fields: dict[str, bytearray] = {}
        self.ended = False
        self._name = ""
        self._header, self._value = bytearray(), bytearray()
        self._parser = MultipartParser(
            boundary,
            {
                "on_header_field": lambda data, start, end: self._header.extend(data[start:end]),
                "on_header_value": lambda data, start, end: self._value.extend(data[start:end]),
                "on_header_end": self._header_ended,
                "on_part_begin": self._part_began,
                "on_part_data": self._part_data,
                "on_end": self._ended,
            },
        )

    def feed(self, data: bytes) -> None:
        self._parser.write(data)

    def pending(self) -> int:
        return len(self.fields.get("file", b""))

    def take_file(self) -> bytearray:
        data = self.fields.get("file", bytearray())
        self.fields["file"] = bytearray()
        return data

    def text(self, name: str) -> str:
        if name not in self.fields:
            raise RefusalError(f"Invalid {name}.")
        return self.fields[name].decode(errors="replace")

    def _part_began(self) -> None:
        self._name = ""

    def _header_ended(self) -> None:
        if self._header.lower() == b"content-disposition":
            _, options = parse_options_header(bytes(self._value))
            self._name = options.get(b"name", b"").decode(errors="replace")
            self.fields.setdefault(self._name, bytearray())
        self._header.clear()
        self._value.clear()

    def _part_data(self, data: bytes, start: int, end: int) -> None:
        field = self.fields.setdefault(self._name, bytearray())
        field.extend(data[start:end])
        if self._name != "file" and len(field) > FIELD_MAX:
            raise FormParserError(f"{self._name} is too long")

    def _ended(self) -> None:
        self.ended = True


class _Store:
    """The file on disk, hashed as it is written; every method blocks."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._md5 = hashlib.md5(usedforsecurity=False)
        self.size = 0

    def write(self, data: bytearray) -> None:
        self._file.write(data)
        self._md5.update(data)
        self.size += len(data)

    def close(self) -> None:
        self._file.close()

    def md5(self) -> str:
        return self._md5.hexdigest()


@asynccontextmanager
async def removed_on_failure(path: Path) -> AsyncIterator[None]:
    """Leave no file behind where the body of the block fails, or its client has gone."""
    try:
        yield
    except BaseException:
        with anyio.CancelScope(shield=True):
            await to_thread.run_sync(path.unlink, True)  # noqa: FBT003 - missing_ok, through run_sync
        raise


async def read_part_form(request: Request, path: Path) -> PartForm:
    """Read a part's form, its fields in any order, with its file to ``path``.

    Raises:
        RefusalError: it is not a form, or a field is missing or makes no sense.
        ClientDisconnect: the client left in the middle.
        OSError: the disk refused.
    """
    kind, options = parse_options_header(request.headers.get("content-type"))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RefusalError("Invalid form.")
    try:
        fields = _Fields(options[b"boundary"])
        store = await to_thread.run_sync(_Store, path)
        try:
            await _fill(store, fields, request)
        finally:
            with anyio.CancelScope(shield=True):
                await to_thread.run_sync(store.close)
    except FormParserError:
        raise RefusalError("Invalid form.") from None
    index = fields.text("index")
    if not _INDEX.fullmatch(index):
        raise RefusalError("Invalid index.")
    return PartForm(int(index), fields.text("hash"), store.md5(), store.size)


async def _fill(store: _Store, fields: _Fields, request: Request) -> None:
    async for data in request.stream():
        fields.feed(data)
        if fields.pending() >= CHUNK:
            await to_thread.run_sync(store.write, fields.take_file())
    if not fields.ended:
        raise RefusalError("Invalid form.")
    if "file" not in fields.fields:
        raise RefusalError("Invalid file.")
    await to_thread.run_sync(store.write, fields.take_file())
