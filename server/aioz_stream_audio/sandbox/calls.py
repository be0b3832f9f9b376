"""The calls of the API: what each does, and what it answers."""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

from anyio import to_thread
from starlette.responses import JSONResponse

from .content_range import ContentRange
from .creation import read_creation
from .form import read_part_form, removed_on_failure
from .links import assets
from .media import Media, Part
from .refusal import RefusalError

if TYPE_CHECKING:
    from pathlib import Path

    from starlette.requests import Request
    from starlette.responses import Response

    from .account import Entry
    from .completion import Completion

LIST_MAX = 100


def success(data: object) -> JSONResponse:
    """Answer with data."""
    return JSONResponse({"status": "success", "data": data})


def done(message: str) -> JSONResponse:
    """Answer with words."""
    return JSONResponse({"status": "success", "message": message})


def _number(given: dict[str, Any], name: str, default: int) -> int:
    value = given.get(name, default)
    if type(value) is not int or value < 0:
        raise RefusalError(f"Invalid {name}.")
    return value


class Calls:
    """The calls, over the media objects in ``media``.

    Args:
        directory: where media objects are kept.
        media: by id; shared with whoever serves them.
        completion: what ``complete`` sets off.
        base_url: the origin that links start with; None for the one that a request was sent to.
    """

    def __init__(
        self, directory: Path, media: dict[str, Media], completion: Completion, *, base_url: str | None = None
    ) -> None:
        self._directory = directory
        self._media = media
        self._completion = completion
        self._base_url = base_url

    async def create(self, request: Request, entry: Entry) -> Response:
        """Make a media object."""
        raw, creation = read_creation(await request.body())
        media = Media(raw, creation, self._directory)
        await to_thread.run_sync(lambda: (media.folder / "parts").mkdir(parents=True))
        self._media[media.id] = media
        entry.media_id = media.id
        return success(self._view(media, request))

    async def part(self, request: Request, entry: Entry) -> Response:
        """Take a part."""
        media = self._find(request)
        media.check_open()
        content_range = ContentRange.parse(entry.content_range)
        path = media.folder / "parts" / uuid.uuid4().hex
        async with removed_on_failure(path):
            form = await read_part_form(request, path)
            entry.index, entry.size = form.index, form.size
            if form.size != content_range.size:
                raise RefusalError("Invalid content range.")
            if form.md5 != form.claimed_md5:
                raise RefusalError("File corrupted.")
            media.accept(Part(form.index, form.md5, content_range, path))
        return done("Upload part successfully.")

    async def complete(self, request: Request, _entry: Entry) -> Response:
        """Join the parts and have them transcoded."""
        await self._completion.complete(self._find(request))
        return done("Upload media complete successfully.")

    async def detail(self, request: Request, _entry: Entry) -> Response:
        """Show a media object."""
        return success(self._view(self._find(request), request))

    async def list(self, request: Request, _entry: Entry) -> Response:
        """List media objects, the newest first."""
        try:
            given = json.loads(await request.body() or b"{}")
        except ValueError:
            given = None
        if not isinstance(given, dict):
            raise RefusalError("Invalid request body.")
        limit, offset = _number(given, "limit", 25), _number(given, "offset", 0)
        search = str(given.get("search", "")).lower()
        found = [
            media
            for media in reversed(self._media.values())
            if given.get("type", "audio") == "audio"
            and media.status != "deleted"
            and search in media.creation.title.lower()
        ]
        page = found[offset : offset + min(limit, LIST_MAX)]
        return success({"media": [self._view(media, request) for media in page], "total": len(found)})

    async def delete(self, request: Request, _entry: Entry) -> Response:
        """Delete a media object; it is still known afterwards."""
        await self._completion.delete(self._find(request))
        return done("Delete media successfully.")

    async def cost(self, _request: Request, _entry: Entry) -> Response:
        """Say what transcoding costs: nothing here."""
        return success({"price": 0, "is_enough": True})

    def _find(self, request: Request) -> Media:
        media = self._media.get(request.path_params["id"])
        if media is None:
            raise RefusalError("Media not found.", status=404)
        return media

    def _view(self, media: Media, request: Request) -> dict[str, Any]:
        creation = media.creation
        base = self._base_url or f"{request.url.scheme}://{request.url.netloc}"
        return {
            "id": media.id,
            "title": creation.title,
            "description": creation.description,
            "type": "audio",
            "status": media.status,
            "duration": media.duration,
            "size": media.size,
            "is_public": creation.is_public,
            "tags": creation.tags,
            "metadata": [pair.model_dump() for pair in creation.metadata],
            "created_at": media.created_at,
            "updated_at": media.updated_at,
            "qualities": [
                {
                    "name": quality.encoding.preset,
                    "type": quality.encoding.type,
                    "status": quality.status,
                    "audio_codec": "aac",
                    "audio_bitrate": quality.encoding.bit_rate,
                }
                for quality in media.qualities
            ],
            "assets": assets(media, base),
        }
