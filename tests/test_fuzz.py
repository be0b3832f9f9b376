"""Anything at all, generated: a tool's arguments, the API's answer, a part's form, the journal's file.

What comes of it is a result or one of the project's own errors; never a traceback, never a key, and nothing is
completed that should not be.
"""

from __future__ import annotations

import json
import shutil
import sqlite3
import tempfile
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import anyio
import httpx2
import pytest
from anyio.from_thread import start_blocking_portal
from hypothesis import given, settings
from hypothesis import strategies as st
from mcp import Client, MCPError
from pydantic import SecretStr

from aioz_stream_audio import AiozStream, CreateAudio, Keys, Settings, build_server, transcoding
from aioz_stream_audio.batch import in_words
from aioz_stream_audio.errors import ApiError, JournalError, PartsMissingError
from aioz_stream_audio.journal import Journal
from aioz_stream_audio.publication import link_of
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox, serve
from aioz_stream_audio.source import Source

if TYPE_CHECKING:
    from collections.abc import Iterator

    from anyio.from_thread import BlockingPortal
    from mcp.types import CallToolResult

API = "https://api.example.org/api/videos"
MARKED = Keys(SecretStr("marked-public-5ab1f00d"), SecretStr("marked-secret-5ab1f00d"))
MIB = 1024 * 1024
JOINERS = "\u200c\u200d"

anything = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=300)
    | st.sampled_from(["", "success", "done", "ready", "https://a.example/x", "\x1b[2J\u202e", "x" * 5000]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=20), inner, max_size=4),
    max_leaves=12,
)


class Bench(NamedTuple):
    """A server with a client in an event loop of its own, for tests that generate one call after the other."""

    portal: BlockingPortal
    client: Client
    sandbox: Sandbox
    url: str

    def call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult | MCPError:
        async def called() -> CallToolResult | MCPError:
            with anyio.fail_after(60):
                try:
                    return await self.client.call_tool(tool, arguments)
                except MCPError as error:
                    return error

        return self.portal.call(called)


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    directory = tmp_path_factory.mktemp("fuzz")
    with start_blocking_portal() as portal, ExitStack() as stack:
        sandbox = Sandbox(directory, transcode=False)
        url = stack.enter_context(portal.wrap_async_context_manager(serve(sandbox)))
        environ = {
            "STREAM_PUBLIC_KEY": PUBLIC_KEY,
            "STREAM_SECRET_KEY": SECRET_KEY,
            "AIOZ_STREAM_API_URL": url,
            "AIOZ_STREAM_STATE_DIR": str(directory / "state"),
        }
        server = build_server(Settings.from_environ(environ))
        client = stack.enter_context(portal.wrap_async_context_manager(Client(server)))
        yield Bench(portal, client, sandbox, url)


PARAMETERS = {
    "create_audio": ("title", "description", "is_public", "tags", "metadata", "qualities"),
    "upload_audio_file": ("audio_id", "path", "wait_seconds"),
    "complete_upload": ("audio_id",),
    "get_audio_link": ("audio_id", "wait_seconds"),
}


@st.composite
def calls(draw: st.DrawFn) -> tuple[str, dict[str, Any]]:
    """Draw a call whose arguments are mostly of the right names."""
    tool = draw(st.sampled_from(sorted(PARAMETERS)))
    names = st.sampled_from((*PARAMETERS[tool], "public_key", "secret_key")) | st.text(max_size=10)
    return tool, draw(st.dictionaries(names, anything, max_size=6))


@settings(max_examples=150)
@given(call=calls())
def test_whatever_a_tool_is_given_it_answers_in_its_own_words(bench: Bench, call: tuple[str, dict[str, Any]]) -> None:
    answer = bench.call(*call)
    if isinstance(answer, MCPError):
        # What JSON-RPC cannot carry is refused before it comes to the tool.
        said = str(answer)
    else:
        said = answer.model_dump_json()
        assert answer.is_error or answer.structured_content
        assert "Error executing tool" not in said, call
    assert "Traceback" not in said
    assert SECRET_KEY not in said
    assert bench.sandbox.account.count("part") == bench.sandbox.account.count("complete") == 0


answers = st.fixed_dictionaries(
    {},
    optional={
        "status": st.sampled_from(["success", "success", "fail", "error"]) | anything,
        "message": st.sampled_from(["Part is already uploaded.", "Media is deleted."]) | anything,
        "data": anything
        | st.fixed_dictionaries(
            {"id": st.just("an-id") | anything},
            optional={
                "title": anything,
                "status": st.sampled_from(["done", "ready", "fail", "new", "deleted"]) | anything,
                "duration": anything,
                "assets": anything | st.dictionaries(st.sampled_from(["hls_url", "dash_url"]), anything),
                "qualities": anything
                | st.lists(st.dictionaries(st.sampled_from(["name", "type", "status", "audio_bitrate"]), anything)),
                "hls": anything,
            },
        ),
    },
)
bodies = (
    st.binary(max_size=200)
    | anything.map(lambda value: json.dumps(value).encode())
    | answers.map(json.dumps).map(str.encode)
)
headers = st.dictionaries(
    st.sampled_from(["location", "retry-after", "x-ratelimit-retry-after", "content-type", "content-encoding", "date"]),
    st.sampled_from(["gzip", "br", "identity", "https://a.example/", "//\x00", "9" * 400, "-1", "soon", "é"])
    | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)


class Form:
    """A part's form, as far as the API cares."""

    headers: dict[str, str] = {"Content-Type": "multipart/form-data; boundary=b", "Content-Length": "4"}  # noqa: RUF012 - a protocol's

    async def __aiter__(self) -> Any:  # noqa: ANN401 - an iterator of bytes
        yield b"form"


def assert_fit_to_show(text: str) -> None:
    assert "marked" not in text
    assert all(char.isprintable() for char in text if char not in JOINERS), repr(text)


@settings(max_examples=300)
@given(
    call=st.sampled_from(["create", "part", "complete", "detail"]),
    status=st.integers(200, 599) | st.just(200),
    body=bodies,
    fields=headers,
)
def test_whatever_the_api_answers_it_is_read_or_refused_and_shown_harmlessly(
    call: str, status: int, body: bytes, fields: dict[str, str]
) -> None:
    def handler(_: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(
            status,
            stream=httpx2.ByteStream(body),
            headers=[(name.encode(), value.encode()) for name, value in fields.items()],
        )

    async def told() -> list[str]:
        """Give the lines that are shown of the answer, or of the error that is made of it."""
        async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
            api = AiozStream(client, API, MARKED)
            try:
                if call == "part":
                    await api.send_part("an-id", Form())
                    return []
                if call == "complete":
                    await api.complete("an-id")
                    return []
                media = await (api.create(CreateAudio(title="t")) if call == "create" else api.detail("an-id"))
            except ApiError as error:
                return [str(error)]
        link = link_of(media)
        json.loads(link.model_dump_json())
        return [*in_words(link).splitlines(), link.title, link.status, link.hls_url or "", link.dash_url or ""]

    for line in anyio.run(told):
        assert len(line) < 1200 or line.startswith(("HLS", "DASH", "http"))
        assert_fit_to_show(line)


PART = b"".join(
    (
        b'--b\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nabcd\r\n',
        b'--b\r\nContent-Disposition: form-data; name="index"\r\n\r\n0\r\n',
        b'--b\r\nContent-Disposition: form-data; name="hash"\r\n\r\ne2fc714c4727ee9395f324cd2e7f331f\r\n--b--\r\n',
    )
)


@st.composite
def forms(draw: st.DrawFn) -> bytes:
    """Draw a part's form with some bytes of it changed, left out or repeated; or no form at all."""
    form = bytearray(draw(st.just(PART) | st.binary(max_size=300)))
    for _ in range(draw(st.integers(0, 4))):
        at = draw(st.integers(0, len(form)))
        form[at : at + draw(st.integers(0, 20))] = draw(
            st.binary(max_size=10) | st.sampled_from([b"--b", b"\r\n", b'"'])
        )
    return bytes(form)


@settings(max_examples=150)
@given(
    form=forms(),
    content_type=st.just("multipart/form-data; boundary=b")
    | st.text(st.characters(min_codepoint=32, max_codepoint=126)),
    content_range=st.just("bytes 0-3/8") | st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=40),
)
def test_whatever_form_comes_to_the_sandbox_is_a_part_or_a_refusal(
    bench: Bench, form: bytes, content_type: str, content_range: str
) -> None:
    async def sent() -> tuple[int, int, dict[str, Any]]:
        keys = {"stream-public-key": PUBLIC_KEY, "stream-secret-key": SECRET_KEY}
        # Into the application itself: an error of its own comes up here, and is no answer of 500.
        transport = httpx2.ASGITransport(bench.sandbox.app)
        async with httpx2.AsyncClient(transport=transport, base_url=bench.url, headers=keys) as client:
            created = await client.post(f"{bench.url}/create", json={"title": "t", "type": "audio"})
            place = f"{bench.url}/{created.json()['data']['id']}"
            fields = {"Content-Type": content_type.strip(), "Content-Range": content_range.strip()}
            part = await client.post(f"{place}/part", content=form, headers=fields)
            # A part of half a file, if it was taken at all.
            complete = await client.get(f"{place}/complete")
            return part.status_code, complete.status_code, part.json()

    part, complete, told = bench.portal.call(sent)
    assert part in {200, 400}
    assert told["status"] == ("success" if part == 200 else "fail")
    whole = part == 200 and content_range.strip() == "bytes 0-3/4"
    assert complete == (200 if whole else 400)
    if part == 200:
        assert b"abcd" in form or b"e2fc714c4727ee9395f324cd2e7f331f" not in form


SONG = Source(Path("/music/song.wav"), 4 * MIB, 1_700_000_000_000_000_001, (1, 2), "WAV", "audio/wav")
ARRIVED = frozenset({0, 1})


async def _write_journal(directory: Path) -> None:
    journal = Journal(directory, API)
    await journal.begin("an-id", SONG, MIB, '{"title": "t"}')
    for index in ARRIVED:
        await journal.acknowledge("an-id", index, "0" * 32)
    await journal.aclose()


@pytest.fixture(scope="module")
def half_sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The journal of an upload with two of its four parts."""
    directory = tmp_path_factory.mktemp("journal")
    anyio.run(_write_journal, directory)
    with closing(sqlite3.connect(directory / "journal.sqlite3")) as db:
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    return directory / "journal.sqlite3"


def assert_nothing_is_completed(file: bytes, suffix: str = "") -> None:
    """Use such a journal like one that is whole: complete is not sent, and no part is there that was not sent."""
    asked: list[str] = []

    def handler(request: httpx2.Request) -> httpx2.Response:
        asked.append(request.url.path)
        return httpx2.Response(200, json={"status": "success", "data": {"id": "an-id", "status": "new"}})

    async def use(directory: Path) -> None:
        journal = Journal(directory, API)
        try:
            async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
                record = await journal.begin("an-id", SONG, MIB)
                if record.is_of(SONG):
                    assert (record.part_size, record.parts_total) == (MIB, 4)
                    assert record.acknowledged <= ARRIVED
                await journal.find_resumable(SONG, '{"title": "t"}')
                with pytest.raises(PartsMissingError):
                    await transcoding.complete(AiozStream(client, API, MARKED), journal, "an-id")
        except JournalError:
            # It says that nothing more was sent.
            return
        finally:
            await journal.aclose()

    directory = Path(tempfile.mkdtemp())
    try:
        (directory / f"journal.sqlite3{suffix}").write_bytes(file)
        anyio.run(use, directory)
    finally:
        shutil.rmtree(directory)
    assert not [path for path in asked if path.endswith("/complete")]


@settings(max_examples=30)
@given(file=st.binary(max_size=3000), header=st.booleans())
def test_a_journal_of_random_bytes_completes_nothing(file: bytes, header: bool) -> None:  # noqa: FBT001 - drawn
    assert_nothing_is_completed(b"SQLite format 3\0" + file if header else file)


@settings(max_examples=30)
@given(file=st.binary(max_size=3000))
def test_a_log_of_random_bytes_beside_the_journal_completes_nothing(file: bytes) -> None:
    assert_nothing_is_completed(file, "-wal")


@settings(max_examples=30)
@given(kept=st.floats(0, 1))
def test_a_journal_that_is_cut_completes_nothing(half_sent: Path, kept: float) -> None:
    file = half_sent.read_bytes()
    assert_nothing_is_completed(file[: int(kept * len(file))])


@settings(max_examples=150)
@given(flips=st.lists(st.tuples(st.integers(0, 10_000), st.integers(0, 7)), min_size=1, max_size=4))
def test_a_journal_with_flipped_bits_completes_nothing(half_sent: Path, flips: list[tuple[int, int]]) -> None:
    file = bytearray(half_sent.read_bytes())
    # Pages are mostly empty; what is there is what matters.
    written = [at for at, byte in enumerate(file) if byte]
    for number, bit in flips:
        file[written[number % len(written)]] ^= 1 << bit
    assert_nothing_is_completed(bytes(file))
