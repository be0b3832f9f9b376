"""The server as a host starts it: a process of its own, spoken to over stdio by the SDK's client, and by hand."""

from __future__ import annotations

import filecmp
import io
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import PIPE
from typing import TYPE_CHECKING, Any

import anyio
import av
import httpx2
import pytest
from anyio.streams.buffered import BufferedByteReceiveStream
from mcp import Client, StdioServerParameters
from mcp.types import CallToolResult, TextContent, jsonrpc_message_adapter

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox, faults, serve
from audio_files import make_audio, make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from anyio.abc import Process

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SERVE = ["-m", "aioz_stream_audio", "serve"]
KEYS = {"STREAM_PUBLIC_KEY": PUBLIC_KEY, "STREAM_SECRET_KEY": SECRET_KEY}
MARKED = {"STREAM_PUBLIC_KEY": "public-marked", "STREAM_SECRET_KEY": "secret-marked"}
# One part after the other, of 1 MiB: where an upload stops is then known to the part.
ONE_BY_ONE = {"AIOZ_STREAM_PART_SIZE_MIB": "1", "AIOZ_STREAM_PARALLEL_PARTS": "1"}


def environment(url: str, state: Path, **variables: str) -> dict[str, str]:
    """The environment of a server, with nothing of the user's in it."""
    clean = {name: value for name, value in os.environ.items() if "STREAM_" not in name}
    return clean | {"AIOZ_STREAM_API_URL": url, "AIOZ_STREAM_STATE_DIR": str(state)} | variables


def connected(env: dict[str, str], mode: str = "auto") -> Client:
    return Client(StdioServerParameters(command=sys.executable, args=SERVE, env=env), mode=mode)


def said(result: CallToolResult) -> str:
    """The words of a tool error."""
    assert result.is_error, result.structured_content
    return "".join(content.text for content in result.content if isinstance(content, TextContent))


async def given(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """What a tool that succeeds gives."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content or {})


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process brings about, which no event of this one can tell."""
    for _ in range(3_000):
        if condition():
            return
        await anyio.sleep(0.01)
    pytest.fail("it did not happen")


@dataclass(frozen=True)
class Session:
    """A client, connected to a server process that was started with the keys of ``sandbox``."""

    client: Client
    sandbox: Sandbox


# One server process an era serves all the tests that ask for it; so does one event loop.
@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module", params=["auto", "legacy"])
async def session(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Session]:
    directory = tmp_path_factory.mktemp("session")
    async with (
        Sandbox(directory) as sandbox,
        serve(sandbox) as url,
        connected(environment(url, directory / "state", **KEYS), request.param) as client,
    ):
        yield Session(client, sandbox)


async def test_the_newest_protocol_is_spoken_with_those_who_know_it_and_an_older_one_with_others(
    session: Session, request: pytest.FixtureRequest
) -> None:
    newest = "2026-07-28"
    era = request.node.callspec.params["session"]
    assert (session.client.protocol_version >= newest) == (era == "auto")


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac", ".wav", ".ogg", ".opus", ".aac", ".aiff"])
async def test_the_four_tools_chained_turn_a_file_into_a_link_that_plays(
    session: Session, tmp_path: Path, suffix: str
) -> None:
    client = session.client
    path = make_audio(tmp_path / f"My tone{suffix}", seconds=1.0)
    with anyio.fail_after(90):
        created = await given(client, "create_audio", title="My tone")
        audio_id = created["audio_id"]
        uploaded = await given(client, "upload_audio_file", audio_id=audio_id, path=str(path))
        completed = await given(client, "complete_upload", audio_id=audio_id)
        link = await given(client, "get_audio_link", audio_id=audio_id, wait_seconds=20)
        segment = await first_segment(link["hls_url"])

    assert (created["title"], created["mode"]) == ("My tone", "default")
    assert (uploaded["state"], uploaded["path"], uploaded["parts_done"]) == ("uploaded", str(path), 1)
    assert uploaded["size_bytes"] == uploaded["sent_bytes"] == path.stat().st_size
    assert completed["status"] in {"transcoding", "done"}
    assert (link["ready"], link["status"]) == (True, "done")
    assert link["duration_seconds"] == pytest.approx(1.0, abs=0.1)
    assert session.sandbox.received(audio_id).read_bytes() == path.read_bytes()
    with av.open(io.BytesIO(segment), "r") as container:
        samples = sum(frame.samples for frame in container.decode(container.streams.audio[0]))
    assert samples > 40_000
    for result in (created, uploaded, completed, link):
        assert result["next_step"]


async def first_segment(hls_url: str) -> bytes:
    """Fetch the first segment of the first variant, as a player does."""
    url = httpx2.URL(hls_url)
    async with httpx2.AsyncClient() as player:
        for _ in ("the variants", "the segments"):
            lines = (await player.get(url)).raise_for_status().text.splitlines()
            url = url.join(next(line for line in lines if line and not line.startswith("#")))
        return (await player.get(url)).raise_for_status().content


def _missing(directory: Path) -> Path:
    return directory / "missing.mp3"


def _directory(directory: Path) -> Path:
    return directory


def _empty(directory: Path) -> Path:
    (directory / "empty.mp3").touch()
    return directory / "empty.mp3"


def _text(directory: Path) -> Path:
    (directory / "text.mp3").write_text("This is no sound.\n")
    return directory / "text.mp3"


def _program(directory: Path) -> Path:
    with Path(sys.executable).open("rb") as program:
        (directory / "program.mp3").write_bytes(program.read(100_000))
    return directory / "program.mp3"


@pytest.mark.parametrize(
    ("make", "what", "advice"),
    [
        (_missing, "There is nothing at ", "Check it, and give the whole path."),
        (_directory, "is a directory", "Name a file in it."),
        (_empty, "is empty", "Give a local audio file"),
        (_text, "is not audio: it looks like plain text", "Give a local audio file"),
        (_program, "is not audio: it looks like an ELF program", "Give a local audio file"),
    ],
)
async def test_what_is_no_audio_file_is_an_error_that_says_what_to_do_and_nothing_is_sent(
    session: Session, tmp_path: Path, make: Callable[[Path], Path], what: str, advice: str
) -> None:
    path = make(tmp_path)
    with anyio.fail_after(90):
        audio_id = (await given(session.client, "create_audio", title="t"))["audio_id"]
        words = said(await session.client.call_tool("upload_audio_file", {"audio_id": audio_id, "path": str(path)}))
        refused = said(await session.client.call_tool("complete_upload", {"audio_id": audio_id}))
    assert what in words
    assert advice in words
    assert str(path) in words
    assert "othing was sent" in words
    assert "complete was not sent" in refused
    assert session.sandbox.account.count("part", audio_id) == 0
    assert session.sandbox.account.count("complete", audio_id) == 0
    assert_no_key(words + refused)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"title": "é" * 128}, "title must be 1 to 255 bytes of UTF-8, and is 256"),
        ({"qualities": [{"resolution": "good", "audio_config": {"bitrate": "loud"}}]}, "such as 48000 or 320k"),
        (
            {"qualities": [{"resolution": "good", "type": "dash", "container_type": "mpegts"}]},
            "container_type of dash must be fmp4, not mpegts",
        ),
        ({"tag": ["podcast"]}, "There is no argument 'tag', so nothing was done. Did you mean tags?"),
        ({"public_key": "public marked"}, "public_key must be the key as AIOZ Stream shows it"),
    ],
)
async def test_a_wrong_argument_is_an_error_that_says_what_it_may_be_and_nothing_is_created(
    session: Session, arguments: dict[str, object], words: str
) -> None:
    asked = len(session.sandbox.account.requests)
    with anyio.fail_after(90):
        told = said(await session.client.call_tool("create_audio", {"title": "t", **arguments}))
    assert words in told
    assert "othing was" in told
    assert len(session.sandbox.account.requests) == asked
    assert_no_key(told)


async def test_wrong_keys_are_an_error_that_names_the_host_and_nothing_is_created(session: Session) -> None:
    known = set(session.sandbox.media)
    with anyio.fail_after(90):
        told = said(
            await session.client.call_tool(
                "create_audio", {"title": "t", "public_key": "public-marked", "secret_key": "secret-marked"}
            )
        )
    assert "127.0.0.1 refused the create call with status 401" in told
    assert "No audio object was created. Check both keys." in told
    assert "AIOZ_STREAM_API_URL" in told
    assert set(session.sandbox.media) == known
    assert_no_key(told)


@pytest.mark.parametrize("audio_id", ["../../users", "a b", "", "é", "x" * 65])
@pytest.mark.parametrize("tool", ["upload_audio_file", "complete_upload", "get_audio_link"])
async def test_a_strange_audio_id_is_an_error_and_is_not_asked_for(session: Session, tool: str, audio_id: str) -> None:
    asked = len(session.sandbox.account.requests)
    path = {"path": "/x.mp3"} if tool == "upload_audio_file" else {}
    with anyio.fail_after(90):
        told = said(await session.client.call_tool(tool, {"audio_id": audio_id, **path}))
    assert "audio_id " in told
    assert len(session.sandbox.account.requests) == asked


async def test_an_audio_that_nobody_knows_is_an_error_that_says_so(session: Session) -> None:
    unknown = "00000000-0000-4000-8000-000000000000"
    with anyio.fail_after(90):
        told = said(await session.client.call_tool("get_audio_link", {"audio_id": unknown}))
    assert "There is no such audio object under these keys" in told
    assert_no_key(told)


def assert_no_key(text: str) -> None:
    for key in ("marked", PUBLIC_KEY, SECRET_KEY):
        assert key not in text


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_without_keys_it_says_which_variables_to_set_and_takes_them_as_arguments(
    url: str, tmp_path: Path, sandbox: Sandbox, mode: str
) -> None:
    with anyio.fail_after(90):
        async with connected(environment(url, tmp_path, STREAM_PUBLIC_KEY="${user_config.key}"), mode) as client:
            told = said(await client.call_tool("create_audio", {"title": "t"}))
            assert not sandbox.account.requests
            passed = {"public_key": PUBLIC_KEY, "secret_key": SECRET_KEY}
            audio_id = (await given(client, "create_audio", title="t", **passed))["audio_id"]
    assert "Set STREAM_PUBLIC_KEY and STREAM_SECRET_KEY" in told
    assert "As a last resort, keys may be passed to the MCP tools as the arguments public_key and secret_key." in told
    assert list(sandbox.media) == [audio_id]


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_large_file_goes_up_in_several_parts_with_progress_that_rises(tmp_path: Path, mode: str) -> None:
    size = 200 * 1000**2
    path = make_large_audio(tmp_path / "large.wav", size)
    seen: list[float] = []
    totals: set[float | None] = set()

    async def hear(progress: float, total: float | None, message: str | None) -> None:  # noqa: ARG001 - the SDK's
        seen.append(progress)
        totals.add(total)

    with anyio.fail_after(90):
        async with Sandbox(tmp_path, transcode=False) as sandbox, serve(sandbox) as url:
            async with connected(environment(url, tmp_path / "state", **KEYS), mode) as client:
                audio_id = (await given(client, "create_audio", title="large"))["audio_id"]
                asked = {"audio_id": audio_id, "path": str(path), "wait_seconds": 55}
                result = await client.call_tool("upload_audio_file", asked, progress_callback=hear)
                await given(client, "complete_upload", audio_id=audio_id)
            uploaded = result.structured_content
            assert uploaded is not None
            assert (uploaded["state"], uploaded["sent_bytes"]) == ("uploaded", size)
            assert uploaded["parts_total"] == uploaded["parts_done"] == sandbox.account.count("part") == 20
            assert await anyio.to_thread.run_sync(filecmp.cmp, path, sandbox.received(audio_id), False)  # noqa: FBT003 - shallow
    assert totals == {size}
    assert seen[-1] == size
    assert seen == sorted(set(seen))
    assert len(seen) > 2


async def test_an_upload_that_is_not_waited_for_goes_on_and_is_joined_by_the_next_call(
    url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = make_large_audio(tmp_path / "large.wav", 4 * MIB)
    held = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=held), start=2 * MIB)
    with anyio.fail_after(90):
        async with connected(environment(url, tmp_path / "state", **KEYS, **ONE_BY_ONE)) as client:
            audio_id = (await given(client, "create_audio", title="large"))["audio_id"]
            asked = {"audio_id": audio_id, "path": str(path)}
            early = await given(client, "upload_audio_file", **asked, wait_seconds=0)
            assert early["state"] == "uploading"
            assert "call upload_audio_file again" in early["next_step"]
            await until(lambda: sandbox.account.count("part") == 3)
            held.set()
            assert (await given(client, "upload_audio_file", **asked))["state"] == "uploaded"
    assert sandbox.account.count("part") == 4


@dataclass
class Wire:
    """A server's standard streams, spoken to by hand."""

    process: Process
    lines: list[bytes] = field(default_factory=list)
    _asked: int = 0

    def __post_init__(self) -> None:
        assert self.process.stdout is not None
        self._stdout = BufferedByteReceiveStream(self.process.stdout)

    async def write(self, line: bytes) -> None:
        assert self.process.stdin is not None
        await self.process.stdin.send(line + b"\n")

    async def ask(self, method: str, **params: object) -> int:
        """Send a request, and give its id."""
        self._asked += 1
        request = {"jsonrpc": "2.0", "id": self._asked, "method": method, "params": params}
        await self.write(json.dumps(request).encode())
        return self._asked

    async def answer(self, number: int) -> dict[str, Any]:
        """Read until the answer to a request has come."""
        while True:
            self.lines.append(await self._stdout.receive_until(b"\n", 4 * MIB))
            message = json.loads(self.lines[-1])
            if isinstance(message, dict) and message.get("id") == number and "method" not in message:
                return message

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool, and give what it gives."""
        answer = await self.answer(await self.ask("tools/call", name=tool, arguments=arguments))
        return dict(answer["result"])

    async def close(self) -> int:
        """Close standard input, as a host does that has had enough; give the exit status."""
        assert self.process.stdin is not None
        with anyio.fail_after(90):
            await self.process.stdin.aclose()
            while True:
                try:
                    self.lines.append(await self._stdout.receive_until(b"\n", 4 * MIB))
                except (anyio.IncompleteRead, anyio.EndOfStream):
                    break
            assert self._stdout.buffer == b""
            return await self.process.wait()


@asynccontextmanager
async def spoken_to(env: dict[str, str], stderr: Path) -> AsyncIterator[Wire]:
    """Start a server, shake hands with it as a client of 2025 does; it is gone when the block ends."""
    with anyio.fail_after(90), stderr.open("wb") as log:
        async with await anyio.open_process([sys.executable, *SERVE], stdin=PIPE, stderr=log, env=env) as process:
            try:
                wire = Wire(process)
                client = {"name": "by hand", "version": "1"}
                await wire.answer(
                    await wire.ask("initialize", protocolVersion="2025-06-18", capabilities={}, clientInfo=client)
                )
                await wire.write(b'{"jsonrpc": "2.0", "method": "notifications/initialized"}')
                yield wire
            finally:
                if process.returncode is None:
                    process.kill()


async def test_stdout_carries_nothing_but_protocol_and_the_log_on_stderr_no_key(url: str, tmp_path: Path) -> None:
    env = environment(url, tmp_path / "state", **MARKED, AIOZ_STREAM_LOG_LEVEL="DEBUG", PYTHONWARNINGS="default")
    garbage = (b"", b"hello?", b"{}", b"[]", b"null", b'{"jsonrpc": "2.0"', b"\xff\xfe\x00", b"x" * MIB, b"[" * 100_000)
    async with spoken_to(env, tmp_path / "log") as wire:
        for line in garbage:
            await wire.write(line)
        await wire.ask("nothing/of/the/kind", any="thing")
        await wire.ask("tools/call", name=7, arguments=[])
        refused = await wire.call("create_audio", title="t")
        missing = await wire.call("upload_audio_file", audio_id="id", path=str(tmp_path / "missing.mp3"))
        listed = await wire.answer(await wire.ask("tools/list"))
        assert await wire.close() == 0
    assert "401" in refused["content"][0]["text"]
    assert "There is nothing at" in missing["content"][0]["text"]
    assert len(listed["result"]["tools"]) == 4
    for line in wire.lines:
        jsonrpc_message_adapter.validate_json(line)
    log = (tmp_path / "log").read_text()
    assert "DEBUG" in log
    assert "marked" not in log
    assert b"marked" not in b"".join(wire.lines)


async def test_a_server_whose_stdin_closes_in_the_middle_of_an_upload_ends_and_the_next_one_goes_on(
    url: str, tmp_path: Path, sandbox: Sandbox
) -> None:
    path = make_large_audio(tmp_path / "large.wav", 4 * MIB)
    env = environment(url, tmp_path / "state", **KEYS, **ONE_BY_ONE)
    held = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=held), start=2 * MIB)
    async with spoken_to(env, tmp_path / "log") as wire:
        audio_id = (await wire.call("create_audio", title="large"))["structuredContent"]["audio_id"]
        await wire.ask("tools/call", name="upload_audio_file", arguments={"audio_id": audio_id, "path": str(path)})
        await until(lambda: sandbox.account.count("part") == 3)
        assert await wire.close() == 0
    held.set()
    assert "Traceback" not in (tmp_path / "log").read_text()

    with anyio.fail_after(90):
        async with connected(env) as client:
            uploaded = await given(client, "upload_audio_file", audio_id=audio_id, path=str(path))
            await given(client, "complete_upload", audio_id=audio_id)
    assert (uploaded["state"], uploaded["parts_resumed"], uploaded["parts_total"]) == ("uploaded", 2, 4)
    assert filecmp.cmp(path, sandbox.received(audio_id), shallow=False)
    assert list(sandbox.media) == [audio_id]
