"""The command ``upload``: several files, a few at once, each watched as it goes up and told of when it is done."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .display import display
from .errors import AiozStreamError
from .foreign_text import harmless
from .playback import play
from .publication import publish
from .uploads import open_uploads

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .display import Display
    from .options import UploadOptions
    from .playback import Playback
    from .results import AudioLink, PublishedAudio, StreamQuality
    from .settings import Keys, Settings
    from .uploads import Uploads

# Files under way at once. Their parts share one limit; this keeps the calls around them below the API's rate limits.
FILES_AT_ONCE = 4


@dataclass(frozen=True)
class Wishes:
    """What is wanted of each file once it is up; ``link_options`` are those of the command `link` that finds it."""

    wait: bool = True
    verify: bool = False
    as_json: bool = False
    link_options: str = "--wait"


@dataclass
class _File:
    """A file on its way, and what came of it."""

    path: str
    result: PublishedAudio | None = None
    playback: Playback | None = None
    error: AiozStreamError | None = None

    @property
    def audio_id(self) -> str:
        """The audio that it became; none that has failed."""
        return self.result.audio_id if self.result else ""


async def upload_files(settings: Settings, paths: Sequence[str], options: UploadOptions, wishes: Wishes) -> int:
    """Upload files, and print each one's links on stdout as soon as they are there; gives how many failed.

    Only once all are up are they settled: after an interruption, or a failure of some, the same command makes no second
    audio of the others.

    Raises:
        KeysMissingError: no keys are configured; nothing was sent.
    """
    keys = settings.keys()
    files = [_File(path) for path in paths]
    places = anyio.Semaphore(FILES_AT_ONCE)

    async def put_up(file: _File) -> None:
        try:
            async with places:
                await _put_up(uploads, keys, file, options, wishes, shown)
        except AiozStreamError as error:
            file.error = error
        _tell(file, wishes)

    async with open_uploads(settings) as uploads:
        with display() as shown:
            try:
                async with anyio.create_task_group() as tasks:
                    for file in files:
                        tasks.start_soon(put_up, file)
            except ExceptionGroup as group:
                # Not a failure of a file: stdout is closed, or the disk is full.
                raise group.exceptions[0] from None
        failures = sum(file.error is not None for file in files)
        if not failures:
            for file in files:
                await uploads.journal.settle(file.audio_id)
    return failures


async def _put_up(
    uploads: Uploads, keys: Keys, file: _File, options: UploadOptions, wishes: Wishes, shown: Display
) -> None:
    source = await uploads.find(file.path)
    request = await anyio.to_thread.run_sync(options.request, source)
    watcher = shown.watch(source.path.name, source.size)
    result = await publish(uploads, keys, source, request, wait=wishes.wait, settle=False, watcher=watcher)
    file.result = result.model_copy(update={"next_step": result.next_step.replace("--wait", wishes.link_options)})
    if wishes.verify:
        file.playback = await play(uploads.client, file.result.hls_url)


def _tell(file: _File, wishes: Wishes) -> None:
    """Print what came of a file: its links, its error, or both where it is up and its link does not play."""
    if file.result is not None:
        told = (
            file.result.model_dump_json(ensure_ascii=True) if wishes.as_json else in_words(file.result, file.playback)
        )
        print(told, flush=True)  # noqa: T201 - what a command line is for
    if file.error is not None:
        print(f"{harmless(file.path)}: {file.error}", file=sys.stderr)  # noqa: T201 - likewise


def in_words(link: AudioLink, playback: Playback | None = None) -> str:
    """Tell of a link to a person: a line for what there is, each value where a script can cut it out."""
    length = "" if link.duration_seconds is None else f", {link.duration_seconds:.1f} s"
    plays = playback and f"yes: {playback.segments} segments, the first of {playback.first_segment_bytes:,} bytes"
    rows = {
        "Title": f"{harmless(link.title)}{length}",
        "Audio ID": link.audio_id,
        "Status": harmless(link.status),
        "Streams": ", ".join(map(_stream, link.qualities)),
        "HLS": link.hls_url,
        "DASH": link.dash_url,
        "Player": link.hls_player_url or link.dash_player_url,
        "Plays": plays,
        "Next": None if link.ready else link.next_step,
    }
    return "\n".join(f"{name + ':':<10}{value}" for name, value in rows.items() if value) + "\n"


def _stream(quality: StreamQuality) -> str:
    rate = f" at {quality.bitrate // 1000} kbit/s" if quality.bitrate else ""
    return harmless(f"{quality.name} {quality.type}{rate}")
