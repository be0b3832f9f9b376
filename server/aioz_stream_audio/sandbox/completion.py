"""From parts to streams: the parts are joined, judged and transcoded."""

from __future__ import annotations

import logging
import os
import shutil
from typing import TYPE_CHECKING

import av
from anyio import CapacityLimiter, to_thread

from .media import OPEN
from .refusal import RefusalError
from .transcode import make_dash, make_hls, probe

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from anyio.abc import TaskGroup

    from .media import Media, Part, Quality
    from .transcode import Source

logger = logging.getLogger(__name__)

# As many at once as leave the machine some room to answer.
_AT_ONCE = 2


def join(parts: Sequence[Part], target: Path) -> None:
    """Join ``parts`` to one file at ``target``; blocks. A part is gone once it is in, so nothing is there twice."""
    first, *others = (part.path for part in parts)
    os.replace(first, target)  # noqa: PTH105 - a move across nothing: both are in one folder
    with target.open("ab") as file:
        for path in others:
            with path.open("rb") as part:
                shutil.copyfileobj(part, file, 1024 * 1024)
            path.unlink()


class Completion:
    """What happens to a media object from ``complete`` on.

    Args:
        transcode: whether to look at the source and transcode it; if not, every quality is done at once, and the
            links lead to nothing.
    """

    def __init__(self, *, transcode: bool) -> None:
        self._transcode = transcode
        self._limiter: CapacityLimiter | None = None
        self._tasks: TaskGroup | None = None

    def run_in(self, tasks: TaskGroup | None) -> None:
        """Transcode in ``tasks`` from now on, or not at all with None."""
        self._tasks = tasks
        self._limiter = CapacityLimiter(_AT_ONCE) if tasks else None

    async def complete(self, media: Media) -> None:
        """Join the parts and start transcoding.

        Raises:
            RefusalError: it cannot be; but for a deleted media object, its status is ``fail`` from now on.
            RuntimeError: the sandbox is not running.
        """
        if media.status == "deleted":
            raise RefusalError("Media is deleted.")
        if media.status not in OPEN:
            # The trap of the real service: asked once too often, it breaks what was healthy.
            raise _failed(media, "Invalid media status.")
        parts = media.whole()
        if parts is None:
            raise _failed(media, "Invalid media size")
        media.turn("uploaded")
        media.size = parts[0].content_range.total
        await to_thread.run_sync(join, parts, media.source)
        if not self._transcode:
            self._pretend(media)
            return
        if self._tasks is None:
            raise RuntimeError("The sandbox is not running: use it as `async with Sandbox(...)`.")
        media.duration = _judge(media, await to_thread.run_sync(probe, media.source)).duration
        if media.status == "uploaded":
            media.turn("transcoding")
            self._tasks.start_soon(self._transcode_all, media)

    async def delete(self, media: Media) -> None:
        """Delete what is kept of a media object; what is being written is left for its directory's owner."""
        media.turn("deleted")
        await to_thread.run_sync(shutil.rmtree, media.folder, True)  # noqa: FBT003 - ignore_errors, through run_sync

    def _pretend(self, media: Media) -> None:
        for quality in media.qualities:
            quality.status = "done"
        media.turn("done")

    async def _transcode_all(self, media: Media) -> None:
        try:
            for number, quality in enumerate(media.qualities):
                if quality.encoding.type == "hls":
                    await self._make_hls(media, number, quality)
            await self._make_dash(media, [q for q in media.qualities if q.encoding.type == "dash"])
        except (av.FFmpegError, OSError, ValueError) as error:
            logger.warning("Media %s could not be transcoded: %s", media.id, error)
            outcome = "fail"
        else:
            outcome = "done"
        # By now it may have been broken by a second complete, or deleted.
        if media.status == "transcoding":
            media.turn(outcome)

    async def _make_hls(self, media: Media, number: int, quality: Quality) -> None:
        quality.status = "transcoding"
        folder = media.streams / "hls" / str(number)
        media.duration, quality.peak_bit_rate = await to_thread.run_sync(
            make_hls, media.source, folder, quality.encoding, limiter=self._limiter
        )
        quality.status = "done"

    async def _make_dash(self, media: Media, qualities: list[Quality]) -> None:
        if not qualities:
            return
        for quality in qualities:
            quality.status = "transcoding"
        encodings = [quality.encoding for quality in qualities]
        media.duration = await to_thread.run_sync(
            make_dash, media.source, media.streams / "dash", encodings, limiter=self._limiter
        )
        for quality in qualities:
            quality.status = "done"


def _failed(media: Media, message: str) -> RefusalError:
    media.turn("fail")
    return RefusalError(message)


def _judge(media: Media, source: Source | None) -> Source:
    """Refuse what cannot be transcoded as it was asked for."""
    if source is None:
        raise _failed(media, "Invalid media type.")
    for quality in media.qualities:
        if quality.encoding.track >= len(source.channels):
            raise _failed(media, "Invalid media.")
    return source
