"""How the command ``upload`` shows files going up: bars in a terminal, plain lines elsewhere. All of it on stderr."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from rich.console import Console
from rich.filesize import decimal
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from .foreign_text import harmless, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator

    from . import transfer
    from .models import Media
    from .publication import Watcher

# A line for each tenth of a file tells enough, and fits a log.
_LINES_A_FILE = 10


class _Line:
    """Watch one file, and say in lines what happens."""

    def __init__(self, console: Console, name: str) -> None:
        self._console = console
        self._name = name
        self._told = 0
        self._status = ""

    async def resumed(self, audio_id: str, parts_done: int, parts_total: int) -> None:
        self._say(f"going on with audio {audio_id}: {parts_done} of {parts_total} parts are there and are skipped")

    async def uploading(self, progress: transfer.Progress) -> None:
        tenths = _LINES_A_FILE * progress.sent_bytes // progress.size_bytes
        if tenths > self._told:
            self._told = tenths
            speed = f" at {decimal(progress.bytes_per_second)}/s" if progress.bytes_per_second else ""
            # What an interruption would keep, which the percentage does not tell: it counts what is on the way.
            arrived = f"{progress.parts_done} of {progress.parts_total} parts have arrived"
            self._say(f"{100 // _LINES_A_FILE * tenths} % of {decimal(progress.size_bytes)}{speed}; {arrived}")

    async def status(self, media: Media) -> None:
        if media.status != self._status:
            self._status = media.status
            self._say(f"uploaded as audio {media.id}; its status is {quoted(media.status)}")

    def _say(self, text: str) -> None:
        self._console.print(f"{self._name}: {text}", markup=False, emoji=False, highlight=False, soft_wrap=True)


class _Bar(_Line):
    """Watch one file, and draw its bar."""

    def __init__(self, bars: Progress, name: str, size: int) -> None:
        super().__init__(bars.console, name)
        self._bars = bars
        self._task = bars.add_task(name, total=size, state="")

    async def uploading(self, progress: transfer.Progress) -> None:
        self._bars.update(self._task, completed=progress.sent_bytes)

    async def status(self, media: Media) -> None:
        self._bars.update(self._task, state=quoted(media.status))


class Display:
    """Where files are watched; made by `display`."""

    def __init__(self, console: Console, bars: Progress | None) -> None:
        self._console = console
        self._bars = bars

    def watch(self, name: str, size: int) -> Watcher:
        """Begin to watch a file of ``size`` bytes."""
        name = harmless(name)
        return _Line(self._console, name) if self._bars is None else _Bar(self._bars, name, size)


@contextmanager
def display() -> Iterator[Display]:
    """Show files going up for as long as the context lasts."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Display(console, None)
        return
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[state]}", style="dim", markup=False),
    )
    # Results printed to the same terminal go above the bars; those that are piped elsewhere are left alone.
    with Progress(*columns, console=console, redirect_stdout=sys.stdout.isatty()) as bars:
        yield Display(console, bars)
