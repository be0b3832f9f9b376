"""A file put up from beginning to end: created, uploaded, completed, transcoded. What the command ``upload`` does."""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING, Protocol

from . import transcoding
from .api import TOO_MANY_UPLOADS
from .errors import AiozStreamError, AudioNotFoundError, PartError, StatusError, TranscodingError
from .foreign_text import quoted
from .local_path import shown
from .results import AudioLink, PublishedAudio
from .settings import APP_NAME

if TYPE_CHECKING:
    from .models import CreateAudio, Media
    from .settings import Keys
    from .source import Source
    from .transfer import Progress
    from .uploads import Uploads


# By 400, AIOZ Stream refuses to complete an audio for good; by others, who asks or how often.
_JUDGED = 400


class Watcher(Protocol):
    """Whoever watches a file go up."""

    async def resumed(self, audio_id: str, parts_done: int, parts_total: int) -> None:
        """Hear that an earlier upload of the file goes on."""

    async def uploading(self, progress: Progress) -> None:
        """Hear how far the upload is."""

    async def status(self, media: Media) -> None:
        """Hear what the audio says of itself: once the file is up, and at the end."""


class Unwatched:
    """Nobody watches."""

    async def resumed(self, audio_id: str, parts_done: int, parts_total: int) -> None:
        """Tell nobody."""

    async def uploading(self, progress: Progress) -> None:
        """Tell nobody."""

    async def status(self, media: Media) -> None:
        """Tell nobody."""


async def publish(
    uploads: Uploads,
    keys: Keys,
    source: Source,
    audio: CreateAudio,
    *,
    wait: bool = True,
    settle: bool = True,
    watcher: Watcher | None = None,
) -> PublishedAudio:
    """Put ``source`` up as ``audio``; an interrupted publication of the same file and request goes on where it stopped.

    Unless ``wait`` is false, answers once the audio is ready. With ``settle``, the same file and request make another
    audio from then on; without, they give this one again until `Journal.settle`.

    Raises:
        ApiError: the audio object could not be created, completed or read.
        SourceError, UploadError, JournalError: the upload cannot go on; what arrived is kept.
        TranscodingError: AIOZ Stream could not make a stream of it.
    """
    watcher = watcher or Unwatched()
    record = await uploads.journal.find_resumable(source, _request(audio))
    if record is not None:
        await watcher.resumed(record.audio_id, record.parts_done, record.parts_total)
        try:
            return await _finish(
                uploads, keys, source, audio, record.audio_id, wait=wait, settle=settle, watcher=watcher
            )
        except (PartError, AudioNotFoundError, TranscodingError) as error:
            if not _is_gone(error):
                raise
            # AIOZ Stream deleted it before its time: nothing of it is left to go on with.
            await uploads.journal.forget(record.audio_id)
    media = await uploads.api(keys).create(audio)
    return await _finish(uploads, keys, source, audio, media.id, wait=wait, settle=settle, watcher=watcher)


async def _finish(
    uploads: Uploads,
    keys: Keys,
    source: Source,
    audio: CreateAudio,
    audio_id: str,
    *,
    wait: bool,
    settle: bool,
    watcher: Watcher,
) -> PublishedAudio:
    api = uploads.api(keys)
    progress = await uploads.upload(
        keys, audio_id, source, wait_seconds=math.inf, request=_request(audio), tell=watcher.uploading
    )
    try:
        media = await transcoding.complete(api, uploads.journal, audio_id)
    except StatusError as error:
        if error.call == "complete" and error.status == _JUDGED and error.api_message != TOO_MANY_UPLOADS:
            await uploads.journal.settle(audio_id)
        raise
    await watcher.status(media)
    if wait:
        media = await transcoding.wait_until_ready(api, audio_id, math.inf)
        await watcher.status(media)
    if wait and media.done and not media.ready:
        raise TranscodingError(
            f"{shown(source.path.name)} is up, and AIOZ Stream says that audio {audio_id} is done, but gives no link "
            "to it. Run the same again to ask once more; if there is still none, look at it in its dashboard.",
            audio_id=audio_id,
            status=media.status,
        )
    failed = media.status in transcoding.FINAL_STATUSES or (wait and not media.ready)
    if settle or failed:
        await uploads.journal.settle(audio_id)
    if failed:
        raise TranscodingError(
            f"AIOZ Stream has the whole of {shown(source.path.name)}, but could not make a stream of it: the status of "
            f"audio {audio_id} is {quoted(media.status)}. If it does not change, check that the file plays, and upload "
            "it again.",
            audio_id=audio_id,
            status=media.status,
        )
    return PublishedAudio(**link_of(media).model_dump(), mode=audio.mode, **progress.model_dump(exclude={"audio_id"}))


def _is_gone(error: AiozStreamError) -> bool:
    """Whether AIOZ Stream deleted the audio object."""
    if isinstance(error, TranscodingError):
        return error.status in transcoding.DELETED_STATUSES
    return isinstance(error.__cause__ or error, AudioNotFoundError)


def _request(audio: CreateAudio) -> str:
    return json.dumps(audio.body(), sort_keys=True)


def link_of(media: Media) -> AudioLink:
    """Tell of an audio's links to somebody at a command line."""
    if media.ready:
        kind = "hls" if media.hls_url else "dash"
        next_step = f"Done: {kind}_url plays in any {kind.upper()} player, {kind}_player_url in a browser."
    elif media.status in transcoding.FINAL_STATUSES:
        next_step = "There will be no link: upload the file again."
    elif media.done:
        next_step = "It is done, but AIOZ Stream gives no link to it: look at it in AIOZ Stream's dashboard."
    else:
        next_step = f"Not ready yet: `{APP_NAME} link {media.id} --wait` waits for the link."
    return AudioLink.of(media, next_step)
