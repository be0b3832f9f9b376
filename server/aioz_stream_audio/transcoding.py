"""From parts to a stream: the one call that starts transcoding, and the reading of what comes of it."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING

import anyio
import stamina

from .api import TOO_MANY_UPLOADS, tells_nothing
from .errors import AnswerError, NoAnswerError, NotConnectedError, PartsMissingError, StatusError
from .transfer import ATTEMPTS, WAIT_ASKED_MAX, WAIT_MAX, back_off

if TYPE_CHECKING:
    from .api import AiozStream
    from .journal import Journal
    from .models import Media

# What an audio object says of itself before its parts, or complete, have arrived.
EMPTY_STATUSES = frozenset({"new", "uploading"})
DELETED_STATUSES = frozenset({"deleted", "deleting"})
FINAL_STATUSES = frozenset({"fail", *DELETED_STATUSES})

# How a read is tried again for somebody who waits for an answer, whose client gives up after a minute.
_READ_ATTEMPTS = 4
_READ_SECONDS_MAX = 20.0
_READ_WAIT_ASKED_MAX = 10.0
_READ_WAIT_INITIAL = 0.5
_POLL_INITIAL = 0.5
_POLL_MAX = 8.0
# How long an audio object may say that it is empty after complete, or done without a link. Nobody should wait for ever
# for one that was not completed, or gets no link.
_ODD_SECONDS_MAX = 60.0
# Statuses by which the API, or what is before it, refuses a call before it does anything: a redirect, who asks, what
# for, how much, and how often.
_REFUSED_UNDONE = frozenset({*range(300, 400), 401, 403, 404, 413, 429})


async def read(api: AiozStream, audio_id: str, *, patient: bool = False) -> Media:
    """Read an audio object, trying again what is worth it; ``patient``, for as long as the sending of a part is tried.

    Raises:
        ApiError: it could not be read.
    """
    async for attempt in stamina.retry_context(
        on=partial(back_off, longest=WAIT_ASKED_MAX if patient else _READ_WAIT_ASKED_MAX),
        attempts=ATTEMPTS if patient else _READ_ATTEMPTS,
        timeout=None if patient else _READ_SECONDS_MAX,
        wait_initial=_READ_WAIT_INITIAL,
        wait_max=WAIT_MAX,
    ):
        with attempt:
            media = await api.detail(audio_id)
    return media


async def wait_until_ready(api: AiozStream, audio_id: str, seconds: float) -> Media:
    """Read an audio object until it is ready or will not be, for ``seconds`` at the most; gives what was read last.

    It is read once in any case. Where ``seconds`` is infinite, passing faults of the network are sat out.

    Raises:
        ApiError: it could not be read.
    """
    patient = seconds == math.inf
    deadline = anyio.current_time() + seconds
    media = await read(api, audio_id, patient=patient)
    pause = _POLL_INITIAL
    odd = 0.0
    with anyio.CancelScope(deadline=deadline):
        while not (media.ready or media.status in FINAL_STATUSES or odd > _ODD_SECONDS_MAX):
            await anyio.sleep(pause)
            odd = odd + pause if media.done or media.status in EMPTY_STATUSES else 0.0
            pause = min(pause * 1.5, _POLL_MAX)
            media = await read(api, audio_id, patient=patient)
    return media


async def complete(api: AiozStream, journal: Journal, audio_id: str) -> Media:
    """Send complete, once ever, and give the audio object as it is then; called again, it only reads it.

    Where the outcome is unknown, the audio object is read instead of asking again: a second complete can spoil it.

    Raises:
        PartsMissingError: not every part has arrived; nothing was sent.
        ApiError: complete was refused, or the audio object could not be read.
    """
    record = await journal.get(audio_id)
    if record is None:
        return await _completed_elsewhere(api, audio_id)
    if record.parts_done < record.parts_total:
        raise PartsMissingError(
            f"Only {record.parts_done} of {record.parts_total} parts of audio {audio_id} have arrived, so complete was "
            "not sent. Upload the rest of the file first: what arrived is not sent again.",
            audio_id=audio_id,
            parts_done=record.parts_done,
            parts_total=record.parts_total,
        )
    if await journal.claim_complete(audio_id):
        await _send_complete(api, journal, audio_id)
    return await read(api, audio_id)


async def _send_complete(api: AiozStream, journal: Journal, audio_id: str) -> None:
    left = anyio.Event()
    try:
        await api.complete(audio_id, leaving=left.set)
    except (NoAnswerError, AnswerError):
        # It may have worked: the audio object's own status, read next, tells.
        return
    except StatusError as error:
        if tells_nothing(error.status):
            return
        if error.status in _REFUSED_UNDONE or error.api_message == TOO_MANY_UPLOADS:
            await journal.release_complete(audio_id)
        raise
    except NotConnectedError:
        await journal.release_complete(audio_id)
        raise
    except anyio.get_cancelled_exc_class():
        if not left.is_set():
            await journal.release_complete(audio_id)
        raise


async def _completed_elsewhere(api: AiozStream, audio_id: str) -> Media:
    media = await read(api, audio_id)
    if media.status in EMPTY_STATUSES:
        raise PartsMissingError(
            f"No part of audio {audio_id} was sent from here, so complete was not sent: without every part it would "
            "spoil the audio. Upload its file first.",
            audio_id=audio_id,
            parts_done=0,
            parts_total=0,
        )
    return media
