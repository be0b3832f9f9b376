"""The player as an MCP App: hosts that show apps play the audio, and follow an upload, inside the conversation.

MCP Apps is the extension ``io.modelcontextprotocol/ui``, specification of 2026-01-26. Hosts that know nothing of it see
the same tools and results as ever.
"""

# No "from __future__ import annotations": the SDK reads the resource's annotations at run time.

import json
from typing import Any
from urllib.parse import urlsplit

from mcp.server.apps import APP_MIME_TYPE, Apps, ResourceCsp, ResourcePermissions
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ResourceNotFoundError
from mcp.server.mcpserver.resources import FileResource

from .errors import AiozStreamError
from .player import PAGE
from .settings import APP_NAME, PRODUCTION_URL, W3STREAM_URL
from .uploads import Uploads

PLAYER_URI = f"ui://{APP_NAME}/player.html"
UPLOAD_URI = "aioz-stream://uploads/{audio_id}"

# What binds a tool to the player, as its ``_meta``.
SHOWN_IN_PLAYER: dict[str, Any] = {"ui": {"resourceUri": PLAYER_URI}}

# AIOZ Stream's links lead to its API's host and to others beside it, such as that of its players.
_MEDIA_ORIGINS = {
    W3STREAM_URL: "https://*.attoaioz.cyou",
    PRODUCTION_URL: "https://*.aiozstream.network",
}


def media_origin(api_url: str) -> str:
    """Give the origin that the streams of an API come from, as a source of a Content Security Policy.

    An address that is none of AIOZ's own, such as the sandbox's, serves its streams itself.
    """
    url = urlsplit(api_url)
    return _MEDIA_ORIGINS.get(api_url, f"{url.scheme}://{url.netloc}")


def player(api_url: str) -> Apps:
    """Make the extension that offers the player, which may load media of the API at ``api_url`` and nothing else.

    It reads its page when it is asked for it.
    """
    apps = Apps()
    policy = {
        # Media, by a browser's own HLS, is all that it loads: the rest of the page is in its one file.
        "csp": ResourceCsp(resource_domains=[media_origin(api_url)], connect_domains=[]),
        "permissions": ResourcePermissions(clipboard_write={}),
    }
    ui = {name: model.model_dump(by_alias=True, exclude_none=True) for name, model in policy.items()}
    apps.add_resource(
        FileResource(
            uri=PLAYER_URI,
            name="player",
            title="Audio player",
            description="Plays an audio, and shows how far its transcoding or its upload is.",
            mime_type=APP_MIME_TYPE,
            meta={"ui": {**ui, "prefersBorder": True}},
            path=PAGE,
        )
    )
    return apps


async def upload_progress(audio_id: str, ctx: Context[Uploads]) -> str:
    """How far the upload to an audio is. Reading it starts nothing, and keeps nothing going."""
    transfer = ctx.request_context.lifespan_context.find_transfer(audio_id)
    if transfer is None:
        raise ResourceNotFoundError(f"No upload to audio {audio_id} was begun by this server since it started.")
    error = str(transfer.error) if isinstance(transfer.error, AiozStreamError) else None
    running = not transfer.ended.is_set()
    return json.dumps(transfer.progress.model_dump() | {"running": running, "error": error})


def offer_upload_progress(server: MCPServer[Uploads]) -> None:
    """Add the resource by which the player follows an upload.

    The player does not call upload_audio_file for it: a page that is open would keep an upload going, or take one up
    again, that its user has stopped.
    """
    server.resource(UPLOAD_URI, name="upload", title="An upload's progress", mime_type="application/json")(
        upload_progress
    )
