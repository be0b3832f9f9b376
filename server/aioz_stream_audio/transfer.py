"""One upload: its parts in parallel, each read once, retried by one rule, and noted once AIOZ Stream has it."""

from __future__ import annotations

import itertools
import random
import time
from collections import deque
from contextlib import closing
from typing import TYPE_CHECKING, Literal

import anyio
import stamina
from pydantic import BaseModel, ConfigDict, Field

from .api import TOO_MANY_UPLOADS
from .errors import AnswerError, ApiError, AudioNotFoundError, NoAnswerError, NotConnectedError, PartError, StatusError
from .part_body import Pace, PartBody
from .plan import Plan

if TYPE_CHECKING:
    from .api import AiozStream
    from .journal import Journal, Record
    from .plan import Part
    from .source import Source

# With waits of 1, 2, 4 … 30 s and jitter, a part outlives two and a half minutes without a network.
ATTEMPTS = 10
WAIT_INITIAL = 1.0
WAIT_MAX = 30.0
# Asked to wait for longer, whoever started the upload is better told than kept waiting.
WAIT_ASKED_MAX = 300.0

_RETRIED_STATUSES = frozenset({408, 429, *range(500, 600)})
_RETRIED_MESSAGES = frozenset({"File corrupted.", TOO_MANY_UPLOADS})


def back_off(error: Exception, *, longest: float = WAIT_ASKED_MAX) -> bool | float:
    """Decide whether a part, or a read, is tried again: no, yes, or after so many seconds, at most ``longest``.

    Sending a part again is safe, because AIOZ Stream knows it by its index and hash; so is reading.
    """
    match error:
        case NotConnectedError() | NoAnswerError() | AnswerError():
            return True
        case StatusError(retry_after=float(seconds)):
            return seconds if seconds <= longest else False
        case StatusError(status=status, api_message=message):
            return status in _RETRIED_STATUSES or message in _RETRIED_MESSAGES
        case _:
            return False


def wait_before_retry(error: Exception, tried: int) -> bool | float:
    """Decide as `back_off` does for a part that was ``tried`` times again: what was asked for, no shorter than usual.

    Parts that were turned away together come back one after the other.
    """
    asked = back_off(error)
    if isinstance(asked, bool):
        return asked
    usual: float = min(WAIT_INITIAL * 2**tried, WAIT_MAX)
    return max(asked, usual) + random.uniform(0, WAIT_INITIAL)  # noqa: S311 - no secret


class Progress(BaseModel):
    """How far an upload is."""

    model_config = ConfigDict(frozen=True)

    audio_id: str
    state: Literal["uploaded", "uploading"]
    path: str = Field(description="The file, links resolved.")
    size_bytes: int
    sent_bytes: int = Field(description="What has arrived and what is on the way.")
    parts_total: int
    parts_done: int
    parts_resumed: int = Field(description="Parts that had arrived before this process began.")
    elapsed_seconds: float = Field(description="Since this process began it.")
    bytes_per_second: int


class Transfer:
    """The sending of one file to one audio object; parts that ``record`` has are not sent.

    ``slots`` limits the parts on the way, over all transfers that share it. Once ``ended`` is set, either `uploaded` is
    true, or ``error`` says why not, or the transfer was drained.
    """

    def __init__(
        self, api: AiozStream, source: Source, record: Record, journal: Journal, slots: anyio.Semaphore
    ) -> None:
        self.source = source
        self.audio_id = record.audio_id
        self.ended = anyio.Event()
        self.error: Exception | None = None
        self._api = api
        self._journal = journal
        self._slots = slots
        self._plan = Plan(record.size, record.part_size)
        self._missing = deque(part for part in self._plan if part.index not in record.acknowledged)
        self._on_the_way: dict[int, PartBody] = {}
        # What waits, for a place or for another attempt, and need not once the transfer is drained.
        self._queue = anyio.CancelScope()
        self._sendings: dict[int, anyio.CancelScope] = {}
        self._pace = Pace()
        self._parts_resumed = self._parts_done = record.parts_done
        self._bytes_resumed = self._bytes_done = self._plan.size - sum(part.size for part in self._missing)
        self._draining = False
        self._changed = anyio.Event()
        self._started = time.monotonic()
        self._stopped: float | None = None
        if self.uploaded:
            self._end()

    @property
    def uploaded(self) -> bool:
        """Whether AIOZ Stream has every part."""
        return self._parts_done == self._plan.parts_total

    @property
    def progress(self) -> Progress:
        """How far it is now."""
        elapsed = (self._stopped or time.monotonic()) - self._started
        sent = self._bytes_done + sum(body.sent_bytes for body in self._on_the_way.values())
        return Progress(
            audio_id=self.audio_id,
            state="uploaded" if self.uploaded else "uploading",
            path=self.source.path_text,
            size_bytes=self._plan.size,
            sent_bytes=sent,
            parts_total=self._plan.parts_total,
            parts_done=self._parts_done,
            parts_resumed=self._parts_resumed,
            elapsed_seconds=round(elapsed, 3),
            bytes_per_second=round((sent - self._bytes_resumed) / elapsed) if elapsed else 0,
        )

    async def run(self) -> None:
        """Send what is missing, until every part is there, one fails for good, or the transfer is drained."""
        try:
            while self._missing and not self._draining:
                await self._send_missing()
        except* Exception as group:  # noqa: BLE001 - whoever waits for the transfer raises it
            self.error = _first(group)
        finally:
            self._end()

    async def _send_missing(self) -> None:
        async with anyio.create_task_group() as tasks:
            while self._missing and await self._may_start_another():
                tasks.start_soon(self._send, self._missing.popleft())

    def drain(self) -> None:
        """Start no more parts; those on the way finish and are noted, those that wait are left for another time."""
        self._draining = True
        self._queue.cancel()
        for index, scope in self._sendings.items():
            if index not in self._on_the_way:
                scope.cancel()

    def resume(self) -> None:
        """Go on after `drain`, if the transfer has not ended."""
        self._draining = False
        self._changed.set()

    def _end(self) -> None:
        self._stopped = time.monotonic()
        self.ended.set()

    async def _may_start_another(self) -> bool:
        """Take a slot. False once the transfer is drained and nothing of it is on the way."""
        while True:
            if self._draining:
                if not self._on_the_way:
                    return False
                self._changed = anyio.Event()
                await self._changed.wait()
                continue
            with anyio.CancelScope() as self._queue:
                await self._slots.acquire()
                if not self._queue.cancel_called:
                    return True
                self._slots.release()

    async def _send(self, part: Part) -> None:
        """Send one part. It keeps its slot while it backs off: an API in trouble is not asked by all others in turn."""
        try:
            with anyio.CancelScope() as self._sendings[part.index]:
                await self._try_to_send(part)
                return
            self._missing.appendleft(part)
        finally:
            del self._sendings[part.index]
            self._slots.release()
            self._changed.set()

    async def _try_to_send(self, part: Part) -> None:
        tried = itertools.count()
        try:
            async for attempt in stamina.retry_context(
                on=lambda error: not self._draining and wait_before_retry(error, next(tried)),
                attempts=ATTEMPTS,
                timeout=None,
                wait_initial=WAIT_INITIAL,
                wait_max=WAIT_MAX,
            ):
                with attempt, closing(PartBody(self.source, part, self._pace)) as body:
                    self._on_the_way[part.index] = body
                    try:
                        await self._api.send_part(self.audio_id, body)
                        await self._journal.acknowledge(self.audio_id, part.index, body.md5)
                    finally:
                        del self._on_the_way[part.index]
            self._parts_done += 1
            self._bytes_done += part.size
        except ApiError as error:
            if self._draining and back_off(error) is not False:
                # For another call to try again; the parts beside it are still to finish.
                self._missing.appendleft(part)
                return
            kept = f" {self._parts_done} of {self._plan.parts_total} parts have arrived and are not sent again."
            told = self._parts_done and not isinstance(error, AudioNotFoundError)
            raise PartError(
                f"Part {part.index + 1} of {self._plan.parts_total} could not be sent: {error}{kept if told else ''}",
                audio_id=self.audio_id,
                index=part.index,
            ) from error


def _first(error: Exception) -> Exception:
    """Give the error that a group of them began with; the others came of it, or of the same cause."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return error
