"""From parts to a stream: the one call that starts transcoding, and the reading of what comes of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import anyio
import stamina

from .errors import AnswerError, NoAnswerError, NotConnectedError, PartsMissingError, StatusError
from .transfer import back_off

if TYPE_CHECKING:
    from .api import AiozStream
    from .journal import Journal
    from .models import Media

# What an audio object says of itself before its parts, or complete, have arrived.
EMPTY_STATUSES = frozenset({"new", "uploading"})
DELETED_STATUSES = frozenset({"deleted", "deleting"})
FINAL_STATUSES = frozenset({"fail", *DELETED_STATUSES})

_READ_ATTEMPTS = 4
_READ_WAIT_ASKED_MAX = 10.0
_POLL_INITIAL = 0.5
_POLL_MAX = 8.0
# How long an audio object may still say that it is empty after complete; one that says so for longer was not completed.
_EMPTY_SECONDS_MAX = 10.0
# How long the link of one that is done may take to appear; for one that has none by then, nobody should wait for ever.
_LINK_SECONDS_MAX = 60.0
# Statuses by which the API refuses a call before it does anything: who asks, what for, and how often.
_REFUSED_UNDONE = frozenset({401, 403, 404, 429})


async def read(api: AiozStream, audio_id: str) -> Media:
    """Read an audio object, trying again what is worth it.

    Raises:
        ApiError: it could not be read.
    """
    async for attempt in stamina.retry_context(
        on=partial(back_off, longest=_READ_WAIT_ASKED_MAX), attempts=_READ_ATTEMPTS, timeout=None, wait_initial=0.5
    ):
        with attempt:
            media = await api.detail(audio_id)
    return media


async def wait_until_ready(api: AiozStream, audio_id: str, seconds: float) -> Media:
    """Read an audio object until it is ready or will not be, for ``seconds`` at the most; gives what was read last.

    Raises:
        ApiError: it could not be read.
    """
    media = await read(api, audio_id)
    pause = _POLL_INITIAL
    waited = working = 0.0
    with anyio.move_on_after(seconds):
        while not (media.ready or media.status in FINAL_STATUSES):
            if (media.status in EMPTY_STATUSES and waited > _EMPTY_SECONDS_MAX) or (
                media.done and waited - working > _LINK_SECONDS_MAX
            ):
                break
            await anyio.sleep(pause)
            waited += pause
            pause = min(pause * 1.5, _POLL_MAX)
            media = await read(api, audio_id)
            if not media.done:
                working = waited
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
    try:
        await api.complete(audio_id)
    except (NoAnswerError, AnswerError):
        # It may have worked: the audio object's own status, read next, tells.
        return
    except StatusError as error:
        if error.status in _REFUSED_UNDONE:
            await journal.release_complete(audio_id)
        elif error.status >= 500:  # noqa: PLR2004 - a fault of the server's own, perhaps after the work was done
            return
        raise
    except NotConnectedError:
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
