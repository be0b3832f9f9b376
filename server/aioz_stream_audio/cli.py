"""The command line. Results go to stdout, everything else to stderr.

Exit status: 0 done, 1 failed, 2 wrong usage, 130 interrupted. Each command imports what it needs and no more, so that
``serve`` starts as fast as it can.
"""

import importlib
import logging
import math
import os
import signal
import socket
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Annotated, NoReturn, cast

import anyio
import typer
from pydantic import SecretStr

from . import __version__
from .errors import AiozStreamError, InputError, KeysMissingError, SettingsError
from .settings import APP_NAME, Settings

if TYPE_CHECKING:
    import io

    from .batch import Wishes
    from .options import UploadOptions

DONE = 0
FAILED = 1
WRONG_USAGE = 2
INTERRUPTED = 130
SANDBOX_PORT = 8788
HTTP_PORT = 8000
# The addresses for which the SDK checks Host and Origin: a page in a browser on this machine cannot use the server.
LOOPBACK = ("127.0.0.1", "::1", "localhost")

app = typer.Typer(
    name=APP_NAME,
    help="Put audio files on AIOZ Stream, and get back links that play.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)


def main() -> None:
    """Run the command line; the entry point of the distribution."""
    # A title that the terminal cannot show must not cost the user the link beside it.
    cast("io.TextIOWrapper", sys.stdout).reconfigure(errors="backslashreplace")
    try:
        app()
    except AiozStreamError as error:
        wrong_usage = isinstance(error, SettingsError | InputError | KeysMissingError)
        _leave(str(error), WRONG_USAGE if wrong_usage else FAILED)
    except OSError as error:
        _leave(f"{error.strerror or error}.", FAILED)


def _leave(message: str, status: int) -> NoReturn:
    typer.echo(f"{APP_NAME}: {message}", err=True)
    raise SystemExit(status)


def _settings() -> Settings:
    settings = Settings.from_environ(os.environ)
    # A retry is news to somebody who looks for the cause of something, and none to others.
    logging.getLogger("stamina").setLevel(logging.INFO if settings.log_level in {"DEBUG", "INFO"} else logging.ERROR)
    # It logs whole addresses, and the link of a private audio holds a token. What it calls, httpcore2 logs as well.
    logging.getLogger("httpx2").setLevel(logging.WARNING)
    logging.basicConfig(level=settings.log_level, format="%(levelname)s %(name)s: %(message)s", stream=sys.stderr)
    return settings


def _show_version(value: bool) -> None:
    if value:
        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _common(
    version: Annotated[
        bool, typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and leave.")
    ] = False,
) -> None:
    pass


def _require_loopback(host: str | None) -> None:
    if host not in {None, *LOOPBACK}:
        raise typer.BadParameter(
            f"{host!r} is not one of {', '.join(LOOPBACK)}. Whoever reaches the port can upload this machine's audio "
            "with your keys, and nothing asks who they are; from another machine, come through an SSH tunnel or a "
            "proxy that asks for a login.",
            param_hint="--host",
        )


def _require_free(host: str, port: int) -> None:
    try:
        socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET).close()
    except OSError as error:
        raise InputError(f"Port {port} of {host} cannot be used ({error.strerror}); choose another.") from error


@app.command()
def serve(
    directories: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[DIRECTORY]...",
            help="The only directories to upload from; left out, those of AIOZ_STREAM_ALLOWED_DIRS, or any.",
            show_default=False,
        ),
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP instead of stdio, on this machine only.")] = False,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help=f"Port for --http: {HTTP_PORT}.")] = None,
    host: Annotated[str | None, typer.Option(help=f"Address for --http: {', '.join(LOOPBACK)}.")] = None,
) -> None:
    """Serve the four tools to an MCP client, which starts this command itself."""
    _require_loopback(host)
    if not http and (port or host):
        raise typer.BadParameter("is for --http, which was not given.", param_hint="--port" if port else "--host")
    settings = _settings().restricted_to(directories or ())
    from .mcp_server import build_server

    server = build_server(settings)
    if http:
        host, port = host or LOOPBACK[0], port or HTTP_PORT
        _require_free(host, port)
        typer.echo(f"Serving MCP on http://{f'[{host}]' if ':' in host else host}:{port}/mcp", err=True)
        server.run("streamable-http", host=host, port=port)
    else:
        # The SDK reads in a thread that no signal wakes, so an orderly end would wait for a line that may never come.
        # What was acknowledged is in the journal.
        signal.signal(signal.SIGINT, lambda *_: os._exit(INTERRUPTED))
        if sys.stdin.isatty():
            typer.echo("Serving MCP over stdio: an MCP client starts this command itself. Ctrl-C ends it.", err=True)
        server.run("stdio")


@app.command()
def upload(
    files: Annotated[list[Path], typer.Argument(metavar="FILE...", help="Audio files.", show_default=False)],
    title: Annotated[str | None, typer.Option(help="Title; left out, the file's tag or name.")] = None,
    description: Annotated[str | None, typer.Option(help="Up to 1,000 characters.")] = None,
    public: Annotated[
        bool | None, typer.Option("--public/--private", help="Whether links work without a token.", show_default=False)
    ] = None,
    tag: Annotated[
        list[str] | None, typer.Option(help="A tag, or several with commas; may be given again.", show_default=False)
    ] = None,
    meta: Annotated[
        list[str] | None,
        typer.Option(metavar="KEY=VALUE", help="Stored with the audio; may be given again.", show_default=False),
    ] = None,
    quality: Annotated[
        str | None,
        typer.Option(
            help="standard, good, highest or lossless (all AAC): makes that one stream. Left out beside another option "
            "of a stream, highest; beside none, AIOZ Stream chooses."
        ),
    ] = None,
    format_: Annotated[str | None, typer.Option("--format", help="hls (default) or dash.")] = None,
    bitrate: Annotated[str | None, typer.Option(help="Bits a second, such as 320k; left out, the quality's.")] = None,
    sample_rate: Annotated[str | None, typer.Option(help="Hz, such as 48000; left out, the quality's.")] = None,
    channels: Annotated[str | None, typer.Option(help="1 or 2; left out, 2, or 1 for a mono file.")] = None,
    language: Annotated[str | None, typer.Option(help="BCP 47 code, such as en.")] = None,
    wait: Annotated[bool, typer.Option("--wait/--no-wait", help="Wait for transcoding, until the link plays.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object a file, on a line of its own.")] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="Fetch the playlist and its first segment, to prove that the link plays.")
    ] = False,
    sandbox: Annotated[
        bool, typer.Option("--sandbox", help="Use a sandbox on this machine instead of AIOZ Stream; needs no keys.")
    ] = False,
    stay: Annotated[bool, typer.Option("--stay", help="With --sandbox: keep serving the links until Ctrl-C.")] = False,
) -> None:
    """Upload audio files, wait until they play, and print their links.

    After an interruption, the same command goes on where it stopped.

    A title alone makes the default upload; any of the options from --description to --language makes a custom one.
    """
    if len(files) > 1 and title is not None:
        raise InputError("--title names one file, and several were given; nothing was sent.")
    if stay and not sandbox:
        raise InputError("--stay goes with --sandbox; nothing was sent.")
    if verify and not wait:
        raise InputError("--verify needs a link that is ready, so it does not go with --no-wait; nothing was sent.")
    if verify and (format_ or "").strip().lower() == "dash":
        raise InputError("--verify plays HLS, so it does not go with --format dash; nothing was sent.")
    settings = _settings()
    from .batch import Wishes
    from .options import UploadOptions

    options = UploadOptions(
        title=title,
        description=description,
        public=public,
        tags=tuple(tag or ()),
        metadata=tuple(meta or ()),
        quality=quality,
        format=format_,
        bitrate=bitrate,
        sample_rate=sample_rate,
        channels=channels,
        language=language,
    )
    options.check()
    link_options = "--wait --sandbox" if sandbox else "--wait"
    wishes = Wishes(wait=wait, verify=verify, as_json=as_json, link_options=link_options)
    failures = anyio.run(_upload, settings, [str(file) for file in files], options, wishes, sandbox, stay)
    raise typer.Exit(FAILED if failures else DONE)


async def _upload(
    settings: Settings, files: list[str], options: "UploadOptions", wishes: "Wishes", sandbox: bool, stay: bool
) -> int:
    from .batch import upload_files

    if not sandbox:
        try:
            return await upload_files(settings, files, options, wishes)
        except KeysMissingError as error:
            raise KeysMissingError(f"{error} To try without keys, add --sandbox.") from None
        except anyio.get_cancelled_exc_class():
            typer.echo("Interrupted. What arrived is kept: the same command goes on from there.", err=True)
            raise
    async with _in_sandbox(settings) as (sandboxed, ends_with_this):
        failures = await upload_files(sandboxed, files, options, wishes)
        if ends_with_this and stay:
            typer.echo("The sandbox goes on serving these links. Ctrl-C ends it.", err=True)
            await anyio.sleep_forever()
        if ends_with_this and not wishes.as_json:
            typer.echo(
                "The sandbox ran inside this command, so its links end with it. To listen, add --stay, or start a "
                "sandbox in another terminal first.",
                err=True,
            )
        return failures


@app.command()
def link(
    audio_id: Annotated[
        str, typer.Argument(metavar="AUDIO_ID", help="The audio_id that an upload gave.", show_default=False)
    ],
    wait: Annotated[bool, typer.Option("--wait", help="Wait for transcoding, until the link plays.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Ask the sandbox that runs on this machine.")] = False,
) -> None:
    """Print the links of an audio."""
    hopeful = anyio.run(_link, _settings(), audio_id, wait, as_json, sandbox)
    raise typer.Exit(DONE if hopeful else FAILED)


async def _link(settings: Settings, audio_id: str, wait: bool, as_json: bool, sandbox: bool) -> bool:
    """Print the links of an audio; false if it will never have one."""
    from .api import AiozStream, open_client
    from .batch import in_words
    from .models import AUDIO_ID
    from .publication import link_of
    from .transcoding import FINAL_STATUSES, wait_until_ready

    if not AUDIO_ID.fullmatch(audio_id):
        raise InputError("AUDIO_ID must be the audio_id that an upload gave; nothing was asked.")
    if sandbox:
        running = await _running_sandbox(settings)
        if running is None:
            raise AiozStreamError(f"No sandbox runs on this machine: start `{APP_NAME} sandbox` first.")
        settings = running
    async with open_client() as client:
        api = AiozStream(client, settings.api_url, settings.keys())
        media = await wait_until_ready(api, audio_id, math.inf if wait else 0)
    result = link_of(media)
    typer.echo(result.model_dump_json(ensure_ascii=True) if as_json else in_words(result))
    return media.status not in FINAL_STATUSES and (media.ready or not wait)


@app.command()
def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print a JSON object.")] = False,
) -> None:
    """Check the settings, the state directory, the way to AIOZ Stream and the keys, and say what to do.

    It sends nothing but two reads of an audio that does not exist.
    """
    with suppress(SettingsError):  # which is one of the things to tell of
        _settings()
    from .doctor import examine

    diagnosis = anyio.run(examine, os.environ)
    typer.echo(diagnosis.model_dump_json(ensure_ascii=True) if as_json else str(diagnosis))
    raise typer.Exit(DONE if diagnosis.ok else FAILED)


@app.command("sandbox")
def run_sandbox(
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port on 127.0.0.1; 0 takes a free one.")] = SANDBOX_PORT,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="Where to keep what is uploaded; left out, a temporary one.")
    ] = None,
) -> None:
    """Stand in for AIOZ Stream on this machine, with real transcoding and links that play; needs no keys."""
    _settings()
    # However it is ended, what it keeps for a while is removed.
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.default_int_handler)
    anyio.run(_serve_sandbox, port, directory)


async def _serve_sandbox(port: int, directory: Path | None) -> None:
    async with _sandbox(port, directory) as (url, public_key, secret_key):
        typer.echo(f"The sandbox listens; Ctrl-C ends it. To use it:\n\nexport AIOZ_STREAM_API_URL={url}")
        typer.echo(f"export STREAM_PUBLIC_KEY={public_key}\nexport STREAM_SECRET_KEY={secret_key}")
        await anyio.sleep_forever()


@asynccontextmanager
async def _in_sandbox(settings: Settings) -> AsyncIterator[tuple[Settings, bool]]:
    """Give settings that point to a sandbox, and whether it ends with this process: it may run elsewhere already."""
    if running := await _running_sandbox(settings):
        yield running, False
        return
    async with _sandbox(0, None) as (url, _, _):
        yield _sandbox_settings(settings, url), True


async def _running_sandbox(settings: Settings) -> Settings | None:
    """Give settings that point to a sandbox that runs already: where the settings point, or on the usual port."""
    for url in (settings.api_url, f"http://127.0.0.1:{SANDBOX_PORT}/api/videos"):
        running = _sandbox_settings(settings, url)
        if url.startswith("http:") and await _answers(running):
            return running
    return None


def _sandbox_settings(settings: Settings, url: str) -> Settings:
    sandbox = _sandbox_package()
    keys = {"public_key": SecretStr(sandbox.PUBLIC_KEY), "secret_key": SecretStr(sandbox.SECRET_KEY)}
    return settings.model_copy(update={"api_url": url, **keys})


def _sandbox_package() -> ModuleType:
    try:
        return importlib.import_module(".sandbox", __package__)
    except ModuleNotFoundError as error:
        raise InputError(
            f"The sandbox needs {error.name}, which its extra brings: pip install '{APP_NAME}[sandbox]'."
        ) from error


async def _answers(settings: Settings) -> bool:
    """Whether a sandbox of this kind listens at the address in ``settings``."""
    import httpx2

    async with httpx2.AsyncClient(timeout=2, trust_env=False) as client:
        try:
            response = await client.post(settings.api_url, headers=settings.keys().headers(), json={"type": "audio"})
        except httpx2.HTTPError:
            return False
    return response.is_success


@asynccontextmanager
async def _sandbox(port: int, directory: Path | None) -> AsyncIterator[tuple[str, str, str]]:
    """Run a sandbox, and give its address and its keys; without a directory it keeps nothing."""
    sandbox = _sandbox_package()
    with tempfile.TemporaryDirectory(prefix=f"{APP_NAME}-", ignore_cleanup_errors=True) as temporary:
        if directory is not None:
            await anyio.Path(directory).mkdir(parents=True, exist_ok=True)
        async with sandbox.Sandbox(directory or Path(temporary)) as running, sandbox.serve(running, port) as url:
            yield url, sandbox.PUBLIC_KEY, sandbox.SECRET_KEY
