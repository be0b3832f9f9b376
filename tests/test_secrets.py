"""Marked keys go through every tool, every command and many failures at DEBUG level, and come out nowhere."""

from __future__ import annotations

import base64
import os
import re
import socket
import sys
import traceback
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import anyio
import httpx2
import pytest
from anyio.streams.text import TextReceiveStream
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.stdio import stdio_client
from pydantic import SecretStr

from aioz_stream_audio import AiozStream, CreateAudio, Keys, Settings, build_server, open_client, open_uploads
from aioz_stream_audio.errors import AiozStreamError
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Mapping

    from anyio.abc import Process

pytestmark = pytest.mark.anyio

COMMAND = (sys.executable, "-m", "aioz_stream_audio")
SAMPLE = str(Path(__file__).parents[1] / "samples" / "speech.mp3")
NOBODYS_ID = "00000000-0000-4000-8000-000000000000"
UNREACHABLE = "http://127.0.0.1:1/api/videos"

REFUSED = {"STREAM_PUBLIC_KEY": "marked-public-5ab1f00d", "STREAM_SECRET_KEY": "marked-secret-5ab1f00d"}
ACCEPTED = {"STREAM_PUBLIC_KEY": PUBLIC_KEY, "STREAM_SECRET_KEY": SECRET_KEY}
PROXY_PASSWORD = "marked-proxy-5ab1f00d"


def forms(*secrets: str) -> Iterator[str]:
    """Give each secret as it is, and as it would look on its way: in Base64, alone or with another, or encoded."""
    pairs = [f"{one}:{other}" for one in secrets for other in secrets]
    for secret in secrets:
        yield from (secret, quote(secret, safe=""), secret.encode().hex(), secret[::-1])
    for text in (*secrets, *pairs):
        # What comes before it decides how it falls into groups of three bytes.
        for shift in range(3):
            encoded = base64.b64encode(b"x" * shift + text.encode()).decode()
            yield encoded[4 if shift else 0 : -4]


LEAKS = [
    *forms(*REFUSED.values()),
    *forms(*ACCEPTED.values()),
    *forms(PROXY_PASSWORD),
    "marked",
]


def assert_silent(*places: str | bytes) -> None:
    for place in places:
        text = place.decode("latin-1") if isinstance(place, bytes) else place
        leaked = [leak for leak in LEAKS if leak in text]
        assert not leaked, text[max(0, text.index(leaked[0]) - 300) :][:600]


def files(directory: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(directory.rglob("*")) if path.is_file()]


def environment(url: str, state: Path, keys: Mapping[str, str], **more: str) -> dict[str, str]:
    """An environment at DEBUG level with nothing of the user's in it."""
    clean = {name: value for name, value in os.environ.items() if "STREAM_" not in name and "PROXY" not in name.upper()}
    ours = {"AIOZ_STREAM_API_URL": url, "AIOZ_STREAM_STATE_DIR": str(state), "AIOZ_STREAM_LOG_LEVEL": "DEBUG"}
    return clean | ours | dict(keys) | more


def test_what_is_looked_for_would_be_found() -> None:
    pair = base64.b64encode(f"{PUBLIC_KEY}:{SECRET_KEY}".encode()).decode()
    for text in (f"Authorization: Basic {pair}", f"stream-secret-key={SECRET_KEY}", f"{REFUSED}"):
        with pytest.raises(AssertionError):
            assert_silent(text)


@asynccontextmanager
async def running(*arguments: str, env: Mapping[str, str], stderr: Path) -> AsyncIterator[Process]:
    with stderr.open("wb") as log:
        async with await anyio.open_process(
            [*COMMAND, *arguments], stdin=DEVNULL, stdout=PIPE, stderr=log, env=env
        ) as process:
            try:
                yield process
            finally:
                process.kill()


async def read_until(process: Process, wanted: str) -> str:
    assert process.stdout is not None
    text = ""
    async for piece in TextReceiveStream(process.stdout):
        text += piece
        if wanted in text:
            return text
    pytest.fail(f"it ended without {wanted!r}: {text}")


@asynccontextmanager
async def sandbox_process(directory: Path) -> AsyncIterator[str]:
    """Run the sandbox as a command at DEBUG level; its log is silent when it ends, and what it keeps is too."""
    log, kept = directory / "sandbox.log", directory / "kept"
    env = environment(UNREACHABLE, directory / "sandbox-state", REFUSED)
    async with running("sandbox", "--port", "0", "--dir", str(kept), env=env, stderr=log) as process:
        told = await read_until(process, f"STREAM_SECRET_KEY={SECRET_KEY}\n")
        yield re.findall("AIOZ_STREAM_API_URL=(.*)", told)[0]
    assert "DEBUG" in log.read_text()
    assert_silent(*files(directory))


def command_lines(song: str) -> list[tuple[str, ...]]:
    """Give what is run with each kind of keys: work, and ways to fail."""
    return [
        ("doctor",),
        ("upload", song, "--private", "--verify"),
        ("upload", song, "--bitrate", "loud"),
        ("upload", "/nowhere/at/all.mp3", "--json"),
        ("link", NOBODYS_ID),
        ("link", "../../users"),
    ]


async def test_no_command_shows_or_stores_a_key(tmp_path: Path) -> None:
    with anyio.fail_after(300):
        async with sandbox_process(tmp_path) as url:
            for name, keys in (("accepted", ACCEPTED), ("refused", REFUSED)):
                env = environment(url, tmp_path / name, keys)
                for arguments in command_lines(SAMPLE):
                    done = await anyio.run_process([*COMMAND, *arguments], env=env, check=False, input=b"")
                    assert_silent(done.stdout, done.stderr)
                    assert b"Traceback" not in done.stderr


async def test_the_token_of_a_private_link_is_in_the_link_alone(tmp_path: Path) -> None:
    """Guards against the HTTP client's log, which tells the whole address of what --verify fetches."""
    state = tmp_path / "state"
    with anyio.fail_after(120):
        async with sandbox_process(tmp_path) as url:
            env = environment(url, state, ACCEPTED)
            done = await anyio.run_process([*COMMAND, "upload", SAMPLE, "--private", "--verify"], env=env, input=b"")
    (token,) = set(re.findall(rb"token=([\w-]+)", done.stdout))
    assert b"DEBUG httpcore2" in done.stderr
    assert all(token not in place for place in (done.stderr, *files(state), (tmp_path / "sandbox.log").read_bytes()))


@pytest.mark.parametrize(
    "more",
    [
        {"AIOZ_STREAM_API_URL": UNREACHABLE},
        {"AIOZ_STREAM_API_URL": "https://127.0.0.1:1/x", "HTTPS_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:1"},
        {"AIOZ_STREAM_API_URL": "https://127.0.0.1:1/x", "HTTPS_PROXY": f"ftp://user:{PROXY_PASSWORD}@127.0.0.1:1"},
        {"AIOZ_STREAM_API_URL": f"https://user:{PROXY_PASSWORD}@127.0.0.1:1/x"},
        {"STREAM_SECRET_KEY": f"{REFUSED['STREAM_SECRET_KEY']} {SECRET_KEY}"},
        {"STREAM_PUBLIC_KEY": f"{REFUSED['STREAM_SECRET_KEY']}\n{SECRET_KEY}é"},
        {"AIOZ_STREAM_PARALLEL_PARTS": SECRET_KEY},
        {"SSL_CERT_FILE": "/nowhere.pem"},
    ],
)
async def test_no_failure_before_the_api_is_reached_shows_a_key(tmp_path: Path, more: dict[str, str]) -> None:
    env = environment(UNREACHABLE, tmp_path / "state", REFUSED, **more)
    with anyio.fail_after(60):
        for arguments in (("doctor",), ("upload", SAMPLE)):
            done = await anyio.run_process([*COMMAND, *arguments], env=env, check=False, input=b"")
            assert done.returncode in {1, 2}
            assert b"Traceback" not in done.stderr
            assert_silent(done.stdout, done.stderr)
    assert_silent(*files(tmp_path))


def tool_calls(song: str, keys: Mapping[str, str]) -> Iterator[tuple[str, dict[str, object]]]:
    """Give calls that go wrong with ``keys`` as arguments, or beside them."""
    public, secret = keys["STREAM_PUBLIC_KEY"], keys["STREAM_SECRET_KEY"]
    passed = {"public_key": public, "secret_key": secret}
    yield "create_audio", {"title": "t", **passed}
    yield "create_audio", {"title": "", **passed}
    yield "create_audio", {**passed}
    yield "create_audio", {"title": "t", "qualities": [{"resolution": "best"}], **passed}
    yield "create_audio", {"title": "t", "public_key": [public], "secret_key": {"key": secret}}
    yield "create_audio", {"title": "t", "public_key": f"{public} {secret}", "secret_key": f"{secret}\r\nx: y"}
    yield "create_audio", {"title": "t", "secretkey": secret, **passed}
    yield "create_audio", {"title": "t", "public_key": public * 100, "secret_key": secret}
    yield "upload_audio_file", {"audio_id": NOBODYS_ID, "path": song, **passed}
    yield "upload_audio_file", {"audio_id": NOBODYS_ID, "path": "/nowhere.mp3", **passed}
    yield "upload_audio_file", {"audio_id": "../x", "path": song, "wait_seconds": 99, **passed}
    yield "complete_upload", {"audio_id": NOBODYS_ID, **passed}
    yield "complete_upload", {"audio_id": [], **passed}
    yield "get_audio_link", {"audio_id": NOBODYS_ID, **passed}
    yield "get_audio_link", {"audio_id": NOBODYS_ID, "wait_seconds": "long", **passed}
    yield "no_such_tool", dict(passed)


async def drive(client: Client, song: str) -> list[str]:
    """Use every tool with the server's keys and with keys as arguments, and give all that it says."""
    said = []

    async def call(tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            result = await client.call_tool(tool, arguments)
        except MCPError as error:
            said.append(f"{error!r} {error}")
            return {}
        said.append(result.model_dump_json())
        return result.structured_content or {}

    for keys in ({}, {"public_key": PUBLIC_KEY, "secret_key": SECRET_KEY}):
        audio_id = (await call("create_audio", {"title": "t", "is_public": False, **keys})).get("audio_id", NOBODYS_ID)
        await call("upload_audio_file", {"audio_id": audio_id, "path": song, **keys})
        await call("complete_upload", {"audio_id": audio_id, **keys})
        await call("get_audio_link", {"audio_id": audio_id, "wait_seconds": 20, **keys})
    for given in (REFUSED, ACCEPTED):
        for tool, arguments in tool_calls(song, given):
            await call(tool, arguments)
    return said


@pytest.mark.parametrize("keys", [ACCEPTED, REFUSED, {}])
async def test_no_tool_of_a_server_over_stdio_says_logs_or_stores_a_key(tmp_path: Path, keys: dict[str, str]) -> None:
    log = tmp_path / "server.log"
    with anyio.fail_after(120), log.open("w") as stderr:
        async with sandbox_process(tmp_path) as url:
            env = environment(url, tmp_path / "state", keys)
            server = StdioServerParameters(command=COMMAND[0], args=[*COMMAND[1:], "serve"], env=env)
            async with Client(stdio_client(server, errlog=stderr)) as client:
                said = await drive(client, SAMPLE)
    assert any('"ready":true' in answer for answer in said)
    assert "DEBUG" in log.read_text()
    assert_silent(*said)


async def test_no_tool_of_a_server_over_http_says_logs_or_stores_a_key(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = str(listener.getsockname()[1])
    log = tmp_path / "server.log"
    with anyio.fail_after(120):
        async with sandbox_process(tmp_path) as url:
            env = environment(url, tmp_path / "state", ACCEPTED)
            async with running("serve", "--http", "--port", port, env=env, stderr=log):
                while "Uvicorn running" not in log.read_text():  # noqa: ASYNC110 - another process sets no event
                    await anyio.sleep(0.05)
                async with Client(f"http://127.0.0.1:{port}/mcp") as client:
                    said = await drive(client, SAMPLE)
    assert any('"ready":true' in answer for answer in said)
    assert_silent(*said)


def failing(error: Exception) -> Callable[[httpx2.Request], httpx2.Response]:
    def handler(_: httpx2.Request) -> httpx2.Response:
        raise error

    return handler


def answering(status: int, body: bytes = b"", **headers: str) -> Callable[[httpx2.Request], httpx2.Response]:
    return lambda _: httpx2.Response(status, content=body, headers=headers)


@pytest.mark.parametrize(
    "handler",
    [
        *(failing(kind("words")) for kind in (httpx2.ConnectError, httpx2.ReadTimeout, httpx2.RemoteProtocolError)),
        *(answering(status) for status in (301, 400, 401, 403, 404, 429, 500)),
        answering(200, b"<html>"),
        answering(200, b'{"status": "success", "data": 7}'),
        answering(200, b" " * 2_000_000),
    ],
)
async def test_no_error_of_the_library_nor_its_traceback_holds_a_key(
    handler: Callable[[httpx2.Request], httpx2.Response], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    keys = Keys(SecretStr(REFUSED["STREAM_PUBLIC_KEY"]), SecretStr(REFUSED["STREAM_SECRET_KEY"]))
    async with httpx2.AsyncClient(transport=httpx2.MockTransport(handler)) as client:
        api = AiozStream(client, "https://api.example.org/api/videos", keys)
        with pytest.raises(AiozStreamError) as caught:
            await api.create(CreateAudio(title="t"))
    error = caught.value
    shown = "".join(traceback.format_exception(error))
    assert_silent(shown, repr(error), str(error), repr(vars(error)), repr(error.args), repr(api), caplog.text)


async def test_no_repr_of_what_holds_the_keys_shows_them(tmp_path: Path) -> None:
    settings = Settings.from_environ({**REFUSED, "AIOZ_STREAM_STATE_DIR": str(tmp_path)})
    keys = settings.keys()
    async with open_client() as client, open_uploads(settings) as uploads:
        holders = (settings, keys, uploads, uploads.api(keys), client, build_server(settings))
        request = client.build_request("GET", "https://api.example.org/", headers=keys.headers())
        assert_silent(*(f"{holder!r} {holder}" for holder in (*holders, request)))
    assert_silent(settings.model_dump_json(), repr(settings.model_dump()))
