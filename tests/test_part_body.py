"""A part's form, as somebody else's parser reads it, and what becomes of it when the file changes."""

from __future__ import annotations

import errno
import hashlib
import io
import os
import sys
import tracemalloc
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, BinaryIO, cast

import anyio
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from python_multipart.multipart import MultipartParser, parse_options_header

from aioz_stream_audio.errors import SourceChangedError
from aioz_stream_audio.part_body import CHUNK_MAX, CHUNK_MIN, Pace, PartBody
from aioz_stream_audio.plan import Part, Plan
from aioz_stream_audio.source import Source, find_source
from audio_files import MIB, make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from pathlib import Path

pytestmark = pytest.mark.anyio


@dataclass
class Field:
    """One field of a form, as python-multipart reads it; the names of headers in lower case."""

    headers: dict[str, str] = field(default_factory=dict)
    value: bytes = b""

    @property
    def options(self) -> dict[bytes, bytes]:
        return parse_options_header(self.headers["content-disposition"])[1]

    @property
    def name(self) -> bytes:
        return self.options[b"name"]


def parse(content_type: str, form: bytes) -> list[Field]:
    """Give the fields in the order they stand in; raises if the form does not end as it should."""
    kind, options = parse_options_header(content_type)
    assert kind == b"multipart/form-data"
    fields: list[Field] = []
    name = ""

    # The form comes in one piece, so a header's name, and its value, do too.
    def header_name(data: bytes, start: int, end: int) -> None:
        nonlocal name
        name = data[start:end].decode().lower()

    def header_value(data: bytes, start: int, end: int) -> None:
        fields[-1].headers[name] = data[start:end].decode()

    def part_data(data: bytes, start: int, end: int) -> None:
        fields[-1].value += data[start:end]

    parser = MultipartParser(
        options[b"boundary"],
        {
            "on_part_begin": lambda: fields.append(Field()),
            "on_header_field": header_name,
            "on_header_value": header_value,
            "on_part_data": part_data,
        },
    )
    parser.write(form)
    parser.finalize()
    return fields


async def whole(body: PartBody) -> bytes:
    form = bytearray()
    async for piece in body:
        form += piece
    body.close()
    return bytes(form)


async def what_goes_out_before_the_error(body: PartBody, change_after_bytes: int, change: Callable[[], None]) -> bytes:
    """Change the file once so many of its bytes went out, and give all that did."""
    form = bytearray()
    changed = False

    async def send() -> None:
        nonlocal changed, form
        async for piece in body:
            form += piece
            if not changed and body.sent_bytes >= change_after_bytes:
                change()
                changed = True

    with pytest.raises(SourceChangedError):
        await send()
    body.close()
    return bytes(form)


def truncate(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"more")


def rewrite(path: Path) -> None:
    """Write other bytes of the same number; the clock of file systems is too coarse to show it at once, so turn it."""
    before = path.stat()
    with path.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"\xff")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns + 1_000_000_000))


def put_another_in_its_place(path: Path) -> None:
    """Put a file of the same size and time there, as a program does that saves to a new file."""
    before = path.stat()
    other = path.with_name("other")
    other.write_bytes(bytes(before.st_size))
    os.utime(other, ns=(before.st_atime_ns, before.st_mtime_ns))
    other.replace(path)


def delete(path: Path) -> None:
    path.unlink()


async def test_the_form_has_the_file_then_the_index_then_the_hash(tmp_path: Path) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 3_000))
    body = PartBody(source, Plan(source.size, 1_000).part(1), Pace())
    form = await whole(body)
    middle = source.path.read_bytes()[1_000:2_000]
    file, index, md5 = parse(body.headers["Content-Type"], form)
    assert [file.name, index.name, md5.name] == [b"file", b"index", b"hash"]
    assert [file.value, index.value, md5.value] == [middle, b"1", hashlib.md5(middle).hexdigest().encode()]
    assert file.headers["content-type"] == "audio/wav"
    assert body.headers["Content-Range"] == "bytes 1000-1999/3000"


async def test_a_part_of_many_chunks_goes_out_whole(tmp_path: Path) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 4 * CHUNK_MAX + 12_345))
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    form = await whole(body)
    assert parse(body.headers["Content-Type"], form)[0].value == source.path.read_bytes()
    assert len(form) == int(body.headers["Content-Length"])


@settings(max_examples=40, deadline=None)
@given(size=st.integers(44, 200_000), data=st.data())
async def test_any_part_of_any_file_is_as_long_as_announced_and_hashed_right(
    size: int, data: st.DataObject, tmp_path_factory: pytest.TempPathFactory
) -> None:
    source = find_source(make_large_audio(tmp_path_factory.mktemp("any") / "song.wav", size))
    start = data.draw(st.integers(0, size - 1), label="start")
    stop = data.draw(st.integers(start + 1, size), label="stop")
    index = data.draw(st.integers(0, 100_000), label="index")
    body = PartBody(source, Part(index, start, stop, size), Pace())
    form = await whole(body)
    expected = source.path.read_bytes()[start:stop]
    assert len(form) == int(body.headers["Content-Length"])
    assert body.headers["Content-Range"] == f"bytes {start}-{stop - 1}/{size}"
    assert [field.value for field in parse(body.headers["Content-Type"], form)] == [
        expected,
        str(index).encode(),
        hashlib.md5(expected).hexdigest().encode(),
    ]
    assert body.md5 == hashlib.md5(expected).hexdigest()
    assert body.sent_bytes == stop - start


@pytest.mark.parametrize(
    ("suffix", "name"),
    [(".wav", b"audio.wav"), (".MP3", b"audio.mp3"), ("", b"audio"), (".é", b"audio"), (".a b", b"audio")],
)
async def test_the_name_of_the_file_stays_here(tmp_path: Path, suffix: str, name: bytes) -> None:
    source = find_source(make_large_audio(tmp_path / f"My confidential song{suffix}", 100))
    body = PartBody(source, Plan(100, 100).part(0), Pace())
    form = await whole(body)
    assert parse(body.headers["Content-Type"], form)[0].options[b"filename"] == name
    assert b"confidential" not in form


@pytest.mark.parametrize("change", [truncate, grow, rewrite, put_another_in_its_place, delete])
async def test_nothing_goes_out_of_a_file_that_changed_before_its_part_began(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 10_000))
    body = PartBody(source, Plan(10_000, 5_000).part(1), Pace())
    change(source.path)
    form = await what_goes_out_before_the_error(body, source.size, lambda: None)
    assert form.endswith(b"Content-Type: audio/wav\r\n\r\n")
    assert body.sent_bytes == 0


@pytest.mark.parametrize("change", [truncate, grow, rewrite])
async def test_the_form_of_a_file_that_changes_in_the_middle_never_ends(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 3 * MIB))
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    form = await what_goes_out_before_the_error(body, 1, lambda: change(source.path))
    assert 0 < body.sent_bytes < source.size
    assert b'name="index"' not in form
    assert b'name="hash"' not in form
    assert body.md5.encode() not in form


@pytest.mark.skipif(sys.platform == "win32", reason="an open file can neither be deleted nor replaced there")
@pytest.mark.parametrize("change", [put_another_in_its_place, delete])
async def test_a_part_of_a_file_that_loses_its_name_is_still_of_that_file_and_the_next_part_fails(
    tmp_path: Path, change: Callable[[Path], None]
) -> None:
    path = make_large_audio(tmp_path / "song.wav", 4 * MIB)
    content = path.read_bytes()
    source = find_source(path)
    plan = Plan(source.size, 3 * MIB)
    body = PartBody(source, plan.part(0), Pace())
    form = bytearray()
    changed = False
    async for piece in body:
        form += piece
        if len(form) > CHUNK_MIN and not changed:
            change(path)
            changed = True
    body.close()
    assert parse(body.headers["Content-Type"], bytes(form))[0].value == content[: 3 * MIB]
    await what_goes_out_before_the_error(PartBody(source, plan.part(1), Pace()), source.size, lambda: None)


async def test_a_slow_line_gets_smaller_chunks_and_a_fast_one_larger(tmp_path: Path) -> None:
    """A call fails when nothing was taken for a minute, so the time that a chunk takes is the subject here."""
    source = find_source(make_large_audio(tmp_path / "song.wav", 8 * MIB))
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    sizes: list[int] = []
    pauses = iter([0, 1.05, 0.1])
    async for piece in body:
        if piece:
            sizes.append(len(piece))
            await anyio.sleep(next(pauses, 0))
    body.close()
    _head, first, after_slow, after_middling, *rest, _tail = sizes
    assert (after_slow, after_middling) == (first // 2, first // 2)
    assert max(rest) == CHUNK_MAX
    assert sum(sizes) == int(body.headers["Content-Length"])


async def test_whoever_sends_it_holds_one_chunk_at_a_time(tmp_path: Path) -> None:
    """The loop over the pieces holds the last one while the next is read, as the loops of an HTTP client do."""
    source = find_source(make_large_audio(tmp_path / "song.wav", 16 * MIB))
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    tracemalloc.start()
    try:
        async for _piece in body:
            pass
        _now, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    body.close()
    assert CHUNK_MAX < peak < CHUNK_MAX * 1.5


async def test_a_line_that_broke_is_taken_for_a_slow_one(tmp_path: Path) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 8 * MIB))
    pace = Pace()
    body = PartBody(source, Plan(source.size, source.size).part(0), pace)
    async with aclosing(cast("AsyncGenerator[bytes]", aiter(body))) as pieces:
        while body.sent_bytes < 4 * MIB:
            await anext(pieces)
    learnt = pace.chunk_size
    body.close()
    assert pace.chunk_size == Pace().chunk_size < learnt


class Failing(Source):
    """A source on a disk that goes away after its first MiB: it can be opened, and each read fails or gives nothing."""

    error: OSError | None = None

    def open(self) -> BinaryIO:
        source, file = self, super().open()

        class Disk(io.BytesIO):
            def read(self, size: int | None = -1, /) -> bytes:
                if file.tell() < MIB:
                    return file.read(-1 if size is None else size)
                if source.error is not None:
                    raise source.error
                return b""

            def fileno(self) -> int:
                return file.fileno()

            def close(self) -> None:
                file.close()

        return Disk()


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (OSError(errno.EIO, "Input/output error"), r"can no longer be read \(Input/output error\)"),
        (None, "has been cut"),
    ],
    ids=["an error", "nothing"],
)
async def test_a_disk_that_fails_in_the_middle_ends_the_part(tmp_path: Path, error: OSError | None, said: str) -> None:
    """Guards against a bare OSError, which would end the other uploads too, and against reading nothing for ever."""
    found = find_source(make_large_audio(tmp_path / "song.wav", 3 * MIB))
    source = Failing(found.path, found.size, found.modified_ns, found.file_id, found.format, found.media_type)
    object.__setattr__(source, "error", error)
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    with anyio.fail_after(90), pytest.raises(SourceChangedError, match=said):
        await whole(body)
    body.close()


class Watched(Source):
    """A source that remembers what was opened of it."""

    opened: list[BinaryIO] = []  # noqa: RUF012 - one test uses it, with one source

    def open(self) -> BinaryIO:
        file = super().open()
        self.opened.append(file)
        return file


async def test_closing_lets_go_of_the_file_however_far_it_was_read(tmp_path: Path) -> None:
    found = find_source(make_large_audio(tmp_path / "song.wav", 3 * MIB))
    source = Watched(found.path, found.size, found.modified_ns, found.file_id, found.format, found.media_type)
    body = PartBody(source, Plan(source.size, source.size).part(0), Pace())
    async with aclosing(cast("AsyncGenerator[bytes]", aiter(body))) as pieces:
        await anext(pieces)
        await anext(pieces)
    (file,) = source.opened
    closed_before = file.closed
    body.close()
    assert (closed_before, file.closed) == (False, True)


async def test_a_part_that_was_never_begun_can_be_closed(tmp_path: Path) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 100))
    body = PartBody(source, Plan(100, 100).part(0), Pace())
    body.close()
    assert body.sent_bytes == 0


async def test_two_forms_of_one_part_have_boundaries_of_their_own(tmp_path: Path) -> None:
    source = find_source(make_large_audio(tmp_path / "song.wav", 100))
    part = Plan(100, 100).part(0)
    one, other = PartBody(source, part, Pace()), PartBody(replace(source), part, Pace())
    assert one.headers["Content-Type"] != other.headers["Content-Type"]
