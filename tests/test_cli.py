"""The command line: whole processes where that is the subject, `main` in a worker thread elsewhere."""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import socket
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from subprocess import DEVNULL, PIPE
from typing import TYPE_CHECKING, Any, Literal, Protocol

import anyio
import httpx2
import pytest
from anyio import to_thread
from anyio.streams.text import TextReceiveStream
from mcp import Client

from aioz_stream_audio import __version__, cli
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox, faults
from audio_files import make_audio, make_large_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from anyio.abc import ByteReceiveStream, Process

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
SAMPLE = str(Path(__file__).parents[1] / "samples" / "speech.mp3")
MODULE = (sys.executable, "-m", "aioz_stream_audio")
MARKED = {"STREAM_PUBLIC_KEY": "public-marked", "STREAM_SECRET_KEY": "secret-marked"}
# What the four tools give together, and `upload --json` for each file.
NAMES = {
    "audio_id", "title", "mode", "state", "path", "size_bytes", "sent_bytes", "parts_total", "parts_done",
    "parts_resumed", "elapsed_seconds", "bytes_per_second", "status", "ready", "hls_url", "dash_url",
    "hls_player_url", "dash_player_url", "duration_seconds", "qualities", "next_step",
}  # fmt: skip


@dataclass(frozen=True)
class Outcome:
    """How a command ended, and what it wrote."""

    status: int
    out: str
    err: str

    @property
    def result(self) -> dict[str, Any]:
        """The one JSON object on standard output."""
        (line,) = self.out.splitlines()
        return dict(json.loads(line))


class Command(Protocol):
    """The command in this process, in the environment that the test set."""

    async def __call__(self, *arguments: str) -> Outcome: ...


@pytest.fixture
def clean(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """An environment, of this process and for others, with nothing of the user's: no keys, no state, no colours."""
    for name in os.environ:
        if "STREAM_" in name or name in {"FORCE_COLOR", "TTY_COMPATIBLE", "PYTHONUNBUFFERED"}:
            monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("AIOZ_STREAM_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("COLUMNS", "200")
    return dict(os.environ)


@pytest.fixture
def at_sandbox(clean: dict[str, str], url: str, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """A clean environment that points to the test's sandbox, with its keys."""
    pointed = {"AIOZ_STREAM_API_URL": url, "STREAM_PUBLIC_KEY": PUBLIC_KEY, "STREAM_SECRET_KEY": SECRET_KEY}
    for name, value in pointed.items():
        monkeypatch.setenv(name, value)
    return clean | pointed


@pytest.fixture
def command(
    clean: dict[str, str],  # noqa: ARG001 - no test may use the environment of whoever runs it
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Command:
    def run() -> int:
        try:
            cli.main()
        except SystemExit as left:
            return left.code if isinstance(left.code, int) else 0
        raise AssertionError("main came back")

    async def called(*arguments: str) -> Outcome:
        monkeypatch.setattr("sys.argv", ["audio-upload-aioz-stream", *arguments])
        with anyio.fail_after(90):
            status = await to_thread.run_sync(run, abandon_on_cancel=True)
        return Outcome(status, *capsys.readouterr())

    return called


async def process(*arguments: str, env: Mapping[str, str], program: tuple[str, ...] = MODULE) -> Outcome:
    """Run the command as a process of its own, with nothing on its standard input."""
    with anyio.fail_after(90):
        done = await anyio.run_process([*program, *arguments], input=b"", env=env, check=False)
    return Outcome(done.returncode, done.stdout.decode(), done.stderr.decode())


@asynccontextmanager
async def running(
    *arguments: str, env: Mapping[str, str], program: tuple[str, ...] = MODULE, stdin: int = DEVNULL
) -> AsyncIterator[Process]:
    """Start the command as a process of its own, which is gone when the block ends."""
    with anyio.fail_after(90):
        started = await anyio.open_process([*program, *arguments], stdin=stdin, stdout=PIPE, stderr=PIPE, env=env)
        async with started:
            try:
                yield started
            finally:
                if started.returncode is None:
                    started.kill()


async def read_until(stream: ByteReceiveStream | None, wanted: str) -> str:
    """Read what a process writes until ``wanted`` is in it."""
    assert stream is not None
    text = ""
    async for piece in TextReceiveStream(stream):
        text += piece
        if wanted in text:
            return text
    pytest.fail(f"it ended without {wanted!r}: {text}")


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what another process brings about, which no event of this one can tell."""
    for _ in range(3_000):
        if condition():
            return
        await anyio.sleep(0.01)
    pytest.fail("it did not happen")


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


async def test_upload_prints_links_that_play_on_stdout_and_its_progress_on_stderr(clean: dict[str, str]) -> None:
    done = await process("upload", SAMPLE, "--sandbox", "--verify", env=clean)
    assert done.status == 0, done.err
    told = dict(line.split(":", maxsplit=1) for line in done.out.splitlines() if line)
    assert set(told) == {"Title", "Audio ID", "Status", "Streams", "HLS", "Player", "Plays"}
    assert told["HLS"].strip().startswith("http://127.0.0.1:")
    assert "speech.mp3: 100 % of 44.3 kB" in done.err
    assert "speech.mp3" not in done.out


async def test_upload_json_is_one_object_a_file_with_the_names_of_the_tools(
    at_sandbox: dict[str, str], tmp_path: Path, sandbox: Sandbox
) -> None:
    tone = str(make_audio(tmp_path / "tone é.flac", seconds=0.3))
    done = await process("upload", SAMPLE, tone, "--json", env=at_sandbox)
    assert done.status == 0, done.err
    told = [json.loads(line) for line in done.out.splitlines()]
    first, second = sorted(told, key=lambda result: [SAMPLE, tone].index(result["path"]))
    assert set(first) == set(second) == NAMES
    assert (first["title"], second["title"]) == ("Speech sample", "tone é")
    assert (first["path"], second["path"]) == (SAMPLE, tone)
    assert first["mode"] == "default"
    assert first["state"] == "uploaded"
    assert first["ready"] is True
    assert first["size_bytes"] == first["sent_bytes"] == Path(SAMPLE).stat().st_size
    assert sandbox.received(second["audio_id"]).read_bytes() == Path(tone).read_bytes()


async def test_the_custom_options_send_the_custom_body_of_the_seed_field_for_field(
    command: Command, at_sandbox: dict[str, str], tmp_path: Path, sandbox: Sandbox
) -> None:
    del at_sandbox
    tone = make_audio(tmp_path / "tone.wav", seconds=0.3)
    options = "--quality highest --bitrate 320k --sample-rate 48000 --tag podcast --tag tech --format hls"
    done = await command("upload", str(tone), "--title", "My Podcast", "--json", *options.split())
    assert done.status == 0, done.err
    assert sandbox.media[done.result["audio_id"]].create_body == {
        "title": "My Podcast",
        "type": "audio",
        "tags": ["podcast", "tech"],
        "qualities": [
            {
                "resolution": "highest",
                "type": "hls",
                "container_type": "mpegts",
                "audio_config": {
                    "codec": "aac",
                    "bitrate": 320_000,
                    "channels": "2",
                    "sample_rate": 48_000,
                    "index": 0,
                },
            }
        ],
    }
    assert done.result["mode"] == "custom"
    assert done.result["qualities"] == [{"name": "highest", "type": "hls", "status": "done", "bitrate": 320_000}]


async def test_every_other_option_reaches_the_body_too(
    command: Command, at_sandbox: dict[str, str], tmp_path: Path, sandbox: Sandbox
) -> None:
    del at_sandbox
    tone = make_audio(tmp_path / "tone.wav", seconds=0.3)
    options = "--description words --private --meta a=1 --meta b=2 --format dash --channels 1 --language vi"
    done = await command("upload", str(tone), "--json", *options.split())
    assert done.status == 0, done.err
    body = sandbox.media[done.result["audio_id"]].create_body
    assert (body["description"], body["is_public"]) == ("words", False)
    assert body["metadata"] == [{"key": "a", "value": "1"}, {"key": "b", "value": "2"}]
    assert body["qualities"] == [
        {
            "resolution": "highest",
            "type": "dash",
            "container_type": "fmp4",
            "audio_config": {
                "codec": "aac",
                "bitrate": 320_000,
                "channels": "1",
                "sample_rate": 48_000,
                "language": "vi",
                "index": 0,
            },
        }
    ]
    assert done.result["hls_url"] is None
    assert "?token=" in done.result["dash_url"]


async def test_wrong_keys_are_refused_by_a_host_that_is_named_and_are_not_told(
    command: Command, at_sandbox: dict[str, str], monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    del at_sandbox
    for name, value in MARKED.items():
        monkeypatch.setenv(name, value)
    done = await command("upload", SAMPLE, "--json")
    assert (done.status, done.out) == (cli.FAILED, "")
    assert "127.0.0.1 refused the create call with status 401" in done.err
    assert "AIOZ_STREAM_API_URL" in done.err
    assert "marked" not in done.err
    assert not sandbox.media


async def test_without_keys_it_says_which_variables_to_set_and_sends_nothing(
    command: Command, url: str, monkeypatch: pytest.MonkeyPatch, sandbox: Sandbox
) -> None:
    monkeypatch.setenv("AIOZ_STREAM_API_URL", url)
    done = await command("upload", SAMPLE)
    assert (done.status, done.out) == (cli.WRONG_USAGE, "")
    assert "STREAM_PUBLIC_KEY and STREAM_SECRET_KEY" in done.err
    assert not sandbox.account.requests


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
    ("make", "words"),
    [
        (_missing, "There is nothing at "),
        (_directory, "is a directory"),
        (_empty, "is empty"),
        (_text, "is not audio: it looks like plain text"),
        (_program, "is not audio: it looks like an ELF program"),
    ],
)
async def test_what_is_no_audio_file_is_named_and_nothing_is_sent(
    command: Command,
    at_sandbox: dict[str, str],
    tmp_path: Path,
    sandbox: Sandbox,
    make: Callable[[Path], Path],
    words: str,
) -> None:
    del at_sandbox
    path = make(tmp_path)
    done = await command("upload", str(path), "--json")
    assert (done.status, done.out) == (cli.FAILED, "")
    assert words in done.err
    assert str(path) in done.err
    assert_nothing_done(done, sandbox)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--title", "é" * 128), "--title must be 1 to 255 bytes of UTF-8, and is 256"),
        (("--bitrate", "loud"), "--bitrate must be a number, such as 48000 or 320k"),
        (("--sample-rate", "44000"), "--sample-rate must be one of"),
        (("--quality", "best"), "--quality must be 'standard', 'good', 'highest' or 'lossless'"),
        (("--format", "mp3"), "--format must be 'hls' or 'dash'"),
        (("--meta", "marked"), "--meta must be KEY=VALUE"),
        ((SAMPLE, "--title", "one title"), "--title names one file, and several were given"),
        (("--stay",), "--stay goes with --sandbox"),
        (("--verify", "--no-wait"), "--verify needs a link that is ready"),
        (("--nothing",), "No such option: --nothing"),
    ],
)
async def test_a_wrong_option_is_wrong_usage_that_names_it_and_nothing_is_sent(
    command: Command, at_sandbox: dict[str, str], sandbox: Sandbox, options: tuple[str, ...], words: str
) -> None:
    """Guards against exit status 1, and a line a file, for what is wrong with the command and not with a file."""
    del at_sandbox
    done = await command("upload", SAMPLE, *options)
    assert words in done.err
    assert (done.status, done.out) == (cli.WRONG_USAGE, "")
    assert_nothing_done(done, sandbox)


def assert_nothing_done(done: Outcome, sandbox: Sandbox) -> None:
    assert "Traceback" not in done.err
    assert PUBLIC_KEY not in done.err
    assert SECRET_KEY not in done.err
    assert not sandbox.account.requests


async def test_a_bad_variable_is_one_line_that_names_it(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIOZ_STREAM_PARALLEL_PARTS", "many")
    for arguments in (("upload", SAMPLE, "--sandbox"), ("link", "id"), ("sandbox",), ("serve",)):
        assert await command(*arguments) == Outcome(
            cli.WRONG_USAGE,
            "",
            "audio-upload-aioz-stream: AIOZ_STREAM_PARALLEL_PARTS must be a whole number from 1 to 16.\n",
        )


async def test_a_key_with_a_space_is_not_told(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STREAM_SECRET_KEY", "secret marked")
    done = await command("upload", SAMPLE)
    assert (done.status, done.out) == (cli.WRONG_USAGE, "")
    assert re.fullmatch(r"audio-upload-aioz-stream: STREAM_SECRET_KEY must be [^\n]*\n", done.err)
    assert "marked" not in done.err


async def test_of_several_files_those_that_can_be_are_uploaded_and_the_status_tells_of_the_others(
    command: Command, at_sandbox: dict[str, str], tmp_path: Path, sandbox: Sandbox
) -> None:
    del at_sandbox
    done = await command("upload", str(_text(tmp_path)), SAMPLE, str(_missing(tmp_path)), "--json")
    assert done.status == cli.FAILED
    assert done.result["path"] == SAMPLE
    assert done.err.count("othing was sent") == 2
    assert len(sandbox.media) == 1


@pytest.mark.parametrize(("ending", "status"), [(signal.SIGINT, 130), (signal.SIGKILL, -signal.SIGKILL)])
async def test_an_upload_that_was_interrupted_goes_on_with_the_same_audio_when_it_is_run_again(
    command: Command,
    at_sandbox: dict[str, str],
    tmp_path: Path,
    sandbox: Sandbox,
    monkeypatch: pytest.MonkeyPatch,
    ending: signal.Signals,
    status: int,
) -> None:
    parts = {"AIOZ_STREAM_PART_SIZE_MIB": "1", "AIOZ_STREAM_PARALLEL_PARTS": "1"}
    path = make_large_audio(tmp_path / "large.wav", 4 * MIB)
    held = anyio.Event()
    sandbox.faults.add("part", faults.stall(until=held), start=2 * MIB)
    async with running("upload", str(path), "--json", env=at_sandbox | parts) as first:
        # With one part at a time, the third begins once the second is in the journal.
        await until(lambda: sandbox.account.count("part") == 3)
        first.send_signal(ending)
        assert await first.wait() == status
        assert first.stdout is not None
        assert first.stderr is not None
        assert [piece async for piece in first.stdout] == []
        assert "Traceback" not in "".join([piece async for piece in TextReceiveStream(first.stderr)])
    held.set()

    for name, value in parts.items():
        monkeypatch.setenv(name, value)
    second = await command("upload", str(path), "--json", "--no-wait")
    assert second.status == 0, second.err
    (audio_id,) = sandbox.media
    assert (second.result["audio_id"], second.result["parts_resumed"]) == (audio_id, 2)
    assert f"large.wav: going on with audio {audio_id}: 2 of 4 parts are there" in second.err
    assert digest(sandbox.received(audio_id)) == digest(path)
    assert sandbox.account.count("complete") == 1


def digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


async def test_link_prints_the_links_of_an_audio(command: Command, at_sandbox: dict[str, str]) -> None:
    uploaded = (await command("upload", SAMPLE, "--json")).result
    in_words = await process("link", uploaded["audio_id"], env=at_sandbox)
    assert in_words.status == 0, in_words.err
    assert f"HLS:      {uploaded['hls_url']}\n" in in_words.out
    in_json = await command("link", uploaded["audio_id"], "--json")
    assert set(in_json.result) < NAMES
    assert in_json.result.items() <= uploaded.items()


async def test_link_waits_for_the_link_if_told_to(
    command: Command, at_sandbox: dict[str, str], sandbox: Sandbox
) -> None:
    del at_sandbox
    audio_id = (await command("upload", SAMPLE, "--json", "--no-wait")).result["audio_id"]
    early = {"status": "success", "data": {"id": audio_id, "status": "transcoding"}}
    sandbox.faults.add("detail", faults.raw(200, "application/json", json.dumps(early).encode()), times=2)
    at_once = await command("link", audio_id, "--json")
    assert (at_once.status, at_once.result["ready"]) == (0, False)
    waited = await command("link", audio_id, "--json", "--wait")
    assert (waited.status, waited.result["ready"]) == (0, True)


async def test_the_link_of_an_audio_that_failed_is_a_failure_that_says_what_to_do(
    command: Command, at_sandbox: dict[str, str], sandbox: Sandbox
) -> None:
    del at_sandbox
    audio_id = (await command("upload", SAMPLE, "--json")).result["audio_id"]
    sandbox.media[audio_id].status = "fail"
    done = await command("link", audio_id, "--wait")
    assert done.status == cli.FAILED
    assert "Next:     There will be no link: upload the file again." in done.out


async def test_the_link_of_an_audio_that_nobody_knows_is_a_failure(
    command: Command, at_sandbox: dict[str, str]
) -> None:
    del at_sandbox
    done = await command("link", "00000000-0000-4000-8000-000000000000")
    assert (done.status, done.out) == (cli.FAILED, "")
    assert "There is no such audio object under these keys" in done.err


@pytest.mark.parametrize("audio_id", ["../../users", "a/b", "a?b", "", "é", "https://aioz.example/player/1"])
async def test_a_silly_audio_id_is_wrong_usage_and_is_not_asked_for(
    command: Command, at_sandbox: dict[str, str], sandbox: Sandbox, audio_id: str
) -> None:
    del at_sandbox
    done = await command("link", audio_id)
    assert (done.status, done.out) == (cli.WRONG_USAGE, "")
    assert "AUDIO_ID must be" in done.err
    assert not sandbox.account.requests


async def test_a_sandbox_that_runs_already_is_the_one_that_is_used(
    command: Command, url: str, sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "SANDBOX_PORT", httpx2.URL(url).port)
    done = await command("upload", SAMPLE, "--sandbox", "--json")
    assert done.status == 0, done.err
    assert list(sandbox.media) == [done.result["audio_id"]]
    assert (await command("link", done.result["audio_id"], "--sandbox", "--json")).result["ready"] is True


async def test_without_a_sandbox_that_runs_one_lasts_as_long_as_the_command_and_that_is_said(
    command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cli, "SANDBOX_PORT", free_port())
    done = await command("upload", SAMPLE, "--sandbox")
    assert done.status == 0, done.err
    assert "its links end with it. To listen, add --stay" in done.err
    asked = await command("link", "id", "--sandbox")
    assert asked.status == cli.FAILED
    assert "No sandbox runs on this machine: start `audio-upload-aioz-stream sandbox` first." in asked.err


async def test_with_stay_the_links_are_printed_and_served_until_the_user_ends_it(clean: dict[str, str]) -> None:
    """Guards against results that wait in a buffer for a process that does not end."""
    code = f"from aioz_stream_audio import cli; cli.SANDBOX_PORT = {free_port()}; cli.main()"
    arguments = ("upload", SAMPLE, "--sandbox", "--stay", "--json")
    async with running(*arguments, env=clean, program=(sys.executable, "-c", code)) as staying:
        with anyio.fail_after(90):
            result = json.loads(await read_until(staying.stdout, "\n"))
        async with httpx2.AsyncClient() as client:
            assert (await client.get(result["hls_url"])).text.startswith("#EXTM3U")
        staying.send_signal(signal.SIGINT)
        assert await staying.wait() == 130


async def test_the_sandbox_prints_exports_that_work_and_ends_when_the_user_ends_it(
    command: Command, clean: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    kept = tmp_path / "kept"
    kept.mkdir()
    async with running("sandbox", "--port", "0", "--dir", str(kept), env=clean) as serving:
        told = await read_until(serving.stdout, "STREAM_SECRET_KEY=sandbox-secret-key\n")
        for name, value in re.findall(r"^export (\w+)=(\S+)$", told, re.MULTILINE):
            monkeypatch.setenv(name, value)
        done = await command("upload", SAMPLE, "--verify", "--json")
        serving.send_signal(signal.SIGINT)
        assert await serving.wait() == 130
        assert serving.stderr is not None
        assert "Traceback" not in "".join([piece async for piece in TextReceiveStream(serving.stderr)])
    assert done.status == 0, done.err
    assert (kept / done.result["audio_id"]).is_dir()


async def test_link_asks_the_sandbox_that_runs(command: Command, url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cli, "SANDBOX_PORT", httpx2.URL(url).port)
    done = await command("upload", SAMPLE, "--sandbox", "--json")
    audio_id = json.loads(done.out)["audio_id"]
    asked = await command("link", audio_id, "--sandbox", "--json")
    assert asked.status == 0, asked.err
    assert json.loads(asked.out)["audio_id"] == audio_id


async def test_what_cannot_be_verified_is_refused_before_anything_is_sent(command: Command, sandbox: Sandbox) -> None:
    done = await command("upload", SAMPLE, "--verify", "--format", "dash")
    assert (done.status, done.out) == (cli.WRONG_USAGE, "")
    assert "--verify plays HLS" in done.err
    assert not sandbox.account.requests


async def test_a_port_that_is_taken_is_one_line(clean: dict[str, str], url: str) -> None:
    port = httpx2.URL(url).port
    done = await process("sandbox", "--port", str(port), env=clean)
    assert (done.status, done.out) == (cli.FAILED, "")
    assert re.fullmatch(rf"audio-upload-aioz-stream: [^\n]*Port {port} of 127.0.0.1 cannot be used[^\n]*\n", done.err)


async def test_without_its_extra_the_sandbox_says_what_to_install(clean: dict[str, str]) -> None:
    code = "import sys; sys.modules['av'] = None; from aioz_stream_audio import cli; cli.main()"
    for arguments in (("sandbox", "--port", "0"), ("upload", SAMPLE, "--sandbox")):
        done = await process(*arguments, env=clean, program=(sys.executable, "-c", code))
        assert (done.status, done.out) == (cli.WRONG_USAGE, "")
        assert done.err == (
            "audio-upload-aioz-stream: The sandbox needs av, which its extra brings: "
            "pip install 'audio-upload-aioz-stream[sandbox]'.\n"
        )


async def test_a_title_that_stdout_cannot_write_does_not_lose_the_result(
    at_sandbox: dict[str, str], tmp_path: Path
) -> None:
    """Guards against a UnicodeEncodeError after the upload, as on Windows with output into a file."""
    title = "Điện thoại 日本 🎧"
    env = at_sandbox | {"PYTHONIOENCODING": "ascii"}
    arguments = ("upload", str(make_audio(tmp_path / "a.mp3", seconds=0.3)), "--title", title)
    in_json = await process(*arguments, "--json", env=env)
    assert in_json.status == 0, in_json.err
    assert in_json.result["title"] == title
    in_words = await process(*arguments, env=env)
    assert in_words.status == 0, in_words.err
    assert "HLS:      http://127.0.0.1:" in in_words.out


async def test_a_reader_that_leaves_early_gets_no_traceback(at_sandbox: dict[str, str]) -> None:
    """Guards against a traceback in `upload FILE | head -0`."""
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with anyio.fail_after(90):
            done = await anyio.run_process(
                [*MODULE, "upload", SAMPLE], stdin=DEVNULL, stdout=writing, env=at_sandbox, check=False
            )
    finally:
        os.close(writing)
    assert "Traceback" not in done.stderr.decode()
    assert "BrokenPipeError" not in done.stderr.decode()
    assert done.returncode == cli.FAILED


async def test_the_doctor_prints_a_line_for_each_thing_and_is_content_with_a_sandbox(
    command: Command, at_sandbox: dict[str, str]
) -> None:
    done = await command("doctor")
    assert (done.status, done.err) == (cli.DONE, "")
    assert done.out.splitlines()[-1] == "ok   keys: accepted"
    assert at_sandbox["AIOZ_STREAM_API_URL"] in done.out
    assert SECRET_KEY not in done.out


async def test_the_doctor_tells_a_program_what_to_do_and_that_there_is_something(
    command: Command, at_sandbox: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    del at_sandbox
    monkeypatch.setenv("STREAM_SECRET_KEY", "secret-marked")
    monkeypatch.setenv("AIOZ_STREAM_LOG_LEVEL", "loud")
    done = await command("doctor", "--json")
    assert (done.status, done.err) == (cli.FAILED, "")
    assert done.result["ok"] is False
    wrong = [finding["name"] for finding in done.result["findings"] if not finding["ok"]]
    assert wrong == ["AIOZ_STREAM_LOG_LEVEL", "keys"]
    assert "marked" not in done.out


async def test_the_version_is_shown(command: Command) -> None:
    assert await command("--version") == Outcome(0, f"{__version__}\n", "")


async def test_without_a_command_the_help_is_shown(command: Command) -> None:
    done = await command()
    assert done.status == cli.WRONG_USAGE
    for name in ("serve", "upload", "link", "sandbox", "doctor"):
        assert name in done.out + done.err


async def test_serve_ends_at_once_when_nobody_talks_to_it_and_has_said_nothing(clean: dict[str, str]) -> None:
    assert await process("serve", env=clean) == Outcome(0, "", "")


@pytest.mark.skipif(sys.platform == "win32", reason="needs a pseudo-terminal")
async def test_serve_tells_a_person_at_a_terminal_what_it_waits_for_and_how_to_end_it(clean: dict[str, str]) -> None:
    """Guards against a Ctrl-C that waits for Enter, because a thread sits in a read that no signal wakes."""
    import pty  # noqa: PLC0415 - POSIX only

    person, terminal = pty.openpty()
    try:
        async with running("serve", env=clean, stdin=terminal) as serving:
            assert "an MCP client starts this command itself" in await read_until(serving.stderr, "Ctrl-C ends it.")
            # Once it has answered, it reads.
            os.write(person, b'{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n')
            await read_until(serving.stdout, "\n")
            with anyio.fail_after(90):
                serving.send_signal(signal.SIGINT)
                assert await serving.wait() == 130
    finally:
        os.close(person)
        os.close(terminal)


@asynccontextmanager
async def serving_http(clean: dict[str, str], *options: str) -> AsyncIterator[int]:
    port = free_port()
    environ = clean | {"AIOZ_STREAM_LOG_LEVEL": "INFO"}
    async with running("serve", "--http", "--port", str(port), *options, env=environ) as serving:
        await read_until(serving.stderr, "Uvicorn running on")
        yield port
        serving.send_signal(signal.SIGINT)
        await serving.wait()


@pytest.mark.parametrize("era", ["auto", "legacy"])
async def test_serve_http_serves_the_tools_on_loopback_in_both_eras_of_the_protocol(
    clean: dict[str, str], era: Literal["auto", "legacy"]
) -> None:
    async with serving_http(clean) as port, Client(f"http://127.0.0.1:{port}/mcp", mode=era) as client:
        names = [tool.name for tool in (await client.list_tools()).tools]
        answer = await client.call_tool("create_audio", {"title": "t"})
    assert names == ["create_audio", "upload_audio_file", "complete_upload", "get_audio_link"]
    assert answer.is_error  # no keys; that it was asked is what matters


async def test_serve_http_answers_no_page_of_another_site(clean: dict[str, str]) -> None:
    """A page may post to loopback, or have its own name point there (DNS rebinding)."""
    ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    accept = {"Accept": "application/json, text/event-stream"}
    async with serving_http(clean) as port, httpx2.AsyncClient() as browser:
        url = f"http://127.0.0.1:{port}/mcp"
        strange_origin = await browser.post(url, json=ping, headers=accept | {"Origin": "https://evil.example"})
        strange_host = await browser.post(url, json=ping, headers=accept | {"Host": "evil.example"})
        own = await browser.post(url, json=ping, headers=accept | {"Origin": f"http://127.0.0.1:{port}"})
    assert (strange_origin.status_code, strange_host.status_code) == (403, 421)
    assert own.status_code not in {403, 421}


async def test_serve_http_says_that_its_port_is_taken_before_it_says_that_it_serves(clean: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        refused = await process("serve", "--http", "--port", str(port), env=clean)
    assert refused.status == 2
    assert refused.err.startswith(f"audio-upload-aioz-stream: Port {port} of 127.0.0.1 cannot be used (")
    assert "Serving" not in refused.err


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
async def test_the_sandbox_removes_what_it_kept_however_it_is_ended(
    clean: dict[str, str], tmp_path: Path, ended_by: signal.Signals
) -> None:
    async with running("sandbox", "--port", "0", env=clean | {"TMPDIR": str(tmp_path)}) as sandbox:
        await read_until(sandbox.stdout, "STREAM_SECRET_KEY")
        assert list(tmp_path.iterdir())
        sandbox.send_signal(ended_by)
        await sandbox.wait()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--http", "--host", "0.0.0.0"), "Whoever reaches the port can upload this machine's audio with your keys"),
        (("--http", "--host", "192.0.2.1"), "'192.0.2.1' is not one of 127.0.0.1, ::1, localhost."),
        (("--port", "8000"), "--port: is for --http, which was not given."),
        (("--host", "localhost"), "--host: is for --http, which was not given."),
    ],
)
async def test_serve_refuses_an_address_beyond_this_machine_and_options_that_would_do_nothing(
    clean: dict[str, str], options: tuple[str, ...], words: str
) -> None:
    refused = await process("serve", *options, env=clean)
    assert refused.status == 2
    assert words in " ".join(refused.err.replace("│", " ").split())


async def test_serve_uploads_from_the_directories_after_it_and_from_no_other(
    at_sandbox: dict[str, str], tmp_path: Path
) -> None:
    port, music = free_port(), tmp_path / "music"
    music.mkdir()
    paths = [make_audio(music / "tone.mp3"), make_audio(tmp_path / "tone.mp3")]
    env = at_sandbox | {"AIOZ_STREAM_LOG_LEVEL": "INFO"}
    async with running("serve", str(music), "--http", "--port", str(port), env=env) as serving:
        await read_until(serving.stderr, "Uvicorn running on")
        results = []
        async with Client(f"http://127.0.0.1:{port}/mcp") as client:
            for path in paths:
                audio = (await client.call_tool("create_audio", {"title": "t"})).structured_content or {}
                asked = {"audio_id": audio["audio_id"], "path": str(path)}
                results.append(await client.call_tool("upload_audio_file", asked))
        serving.send_signal(signal.SIGINT)
        await serving.wait()
    assert [result.is_error for result in results] == [False, True]
    assert "is outside the directories that may be uploaded from" in str(results[1].content)


async def imported(*arguments: str, env: Mapping[str, str]) -> set[str]:
    """The top-level packages that a command imported by the time it has run to its end."""
    done = await process(*arguments, env=env, program=(sys.executable, "-X", "importtime", *MODULE[1:]))
    assert done.status == 0, done.err
    return {match[1] for match in re.finditer(r"^import time:.*\|\s+(\w+)$", done.err, re.MULTILINE)}


async def test_serve_imports_neither_rich_nor_av(clean: dict[str, str]) -> None:
    packages = await imported("serve", env=clean)
    assert "mcp" in packages
    assert not packages & {"rich", "av"}


async def test_upload_imports_neither_mcp_nor_av(at_sandbox: dict[str, str]) -> None:
    packages = await imported("upload", SAMPLE, "--no-wait", env=at_sandbox)
    assert {"httpx2", "rich"} <= packages
    assert not packages & {"mcp", "mcp_types", "av", "starlette", "uvicorn"}


async def test_the_help_imports_neither_httpx2_nor_mcp(clean: dict[str, str]) -> None:
    assert not await imported("--help", env=clean) & {"httpx2", "mcp", "av", "starlette", "tinytag"}
