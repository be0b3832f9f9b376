"""What the server offers to hosts that show apps, and that it changes nothing for those that do not."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, MCPError
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextResourceContents

from aioz_stream_audio.apps import PLAYER_URI, media_origin
from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.player import PAGE, page_of
from aioz_stream_audio.sandbox.faults import stall, status
from aioz_stream_audio.settings import PRODUCTION_URL, W3STREAM_URL
from audio_files import make_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from aioz_stream_audio.sandbox import Sandbox
    from aioz_stream_audio.settings import Settings

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Client(build_server(settings)) as connected:
        yield connected


async def read(client: Client, uri: str) -> TextResourceContents:
    (contents,) = (await client.read_resource(uri)).contents
    assert isinstance(contents, TextResourceContents)
    return contents


async def progress(client: Client, audio_id: str) -> dict[str, Any]:
    shown: dict[str, Any] = json.loads((await read(client, f"aioz-stream://uploads/{audio_id}")).text)
    return shown


async def test_the_server_says_that_it_has_apps(client: Client) -> None:
    assert client.server_capabilities is not None
    assert EXTENSION_ID in (client.server_capabilities.extensions or {})


async def test_the_two_tools_whose_work_takes_a_while_are_shown_in_the_player(client: Client) -> None:
    tools = (await client.list_tools()).tools
    assert {tool.name: tool.meta for tool in tools if tool.meta} == {
        "upload_audio_file": {"ui": {"resourceUri": PLAYER_URI}},
        "get_audio_link": {"ui": {"resourceUri": PLAYER_URI}},
    }


async def test_the_player_is_listed_and_read_as_an_app(client: Client) -> None:
    assert PLAYER_URI in {resource.uri for resource in (await client.list_resources()).resources}
    page = await read(client, PLAYER_URI)
    assert (page.uri, page.mime_type) == (PLAYER_URI, APP_MIME_TYPE)
    assert page.text == PAGE.read_text("utf-8")


async def test_the_player_asks_for_its_media_and_the_clipboard_and_nothing_else(client: Client, url: str) -> None:
    meta = (await read(client, PLAYER_URI)).meta
    assert meta is not None
    assert meta["ui"] == {
        "csp": {"resourceDomains": [url.removesuffix("/api/videos")], "connectDomains": []},
        "permissions": {"clipboardWrite": {}},
        "prefersBorder": True,
    }


@pytest.mark.parametrize(
    ("api_url", "origin"),
    [
        (W3STREAM_URL, "https://*.attoaioz.cyou"),
        (PRODUCTION_URL, "https://*.aiozstream.network"),
        ("http://127.0.0.1:8788/api/videos", "http://127.0.0.1:8788"),
        ("https://stream.example/api/media", "https://stream.example"),
    ],
)
def test_media_comes_from_where_the_api_is(api_url: str, origin: str) -> None:
    assert media_origin(api_url) == origin


def test_the_page_loads_nothing_by_itself() -> None:
    page = PAGE.read_text("utf-8")
    assert not any(loading in page for loading in (' src="', "@import", "url(", "import("))
    assert page.count("<script") == 2


def test_the_page_makes_no_markup_of_what_it_shows() -> None:
    page = PAGE.read_text("utf-8")
    assert not any(parsing in page for parsing in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write"))


def test_the_page_that_stands_alone_holds_its_link_as_data() -> None:
    page = page_of({"title": "</script><script>alert(1)</script>"}, "globalThis.playDash = () => {};\n")
    assert '{"title": "\\u003c/script>\\u003cscript>alert(1)\\u003c/script>"}' in page
    assert "globalThis.playDash = () => {};" in page
    assert page.count("<script") == 3


async def test_a_result_is_as_whole_in_text_as_for_an_app(client: Client) -> None:
    result = await client.call_tool("create_audio", {"title": "t"})
    audio_id = (result.structured_content or {})["audio_id"]
    link = await client.call_tool("get_audio_link", {"audio_id": audio_id})
    assert json.loads("".join(getattr(content, "text", "") for content in link.content)) == link.structured_content


async def test_an_upload_tells_how_far_it_is_while_it_runs_and_when_it_is_done(
    client: Client, sandbox: Sandbox, tmp_path: Path
) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", stall(until=released))
    path = make_audio(tmp_path / "podcast.mp3")
    created = await client.call_tool("create_audio", {"title": "t"})
    audio_id = (created.structured_content or {})["audio_id"]
    arguments = {"audio_id": audio_id, "path": str(path)}
    await client.call_tool("upload_audio_file", arguments | {"wait_seconds": 0})
    running = await progress(client, audio_id)
    released.set()
    result = await client.call_tool("upload_audio_file", arguments)
    done = await progress(client, audio_id)
    assert (running["state"], running["running"], running["parts_done"]) == ("uploading", True, 0)
    assert (done["state"], done["running"], done["error"]) == ("uploaded", False, None)
    assert done.items() >= {name: (result.structured_content or {})[name] for name in ("path", "size_bytes")}.items()


async def test_an_upload_that_failed_tells_why(client: Client, sandbox: Sandbox, tmp_path: Path) -> None:
    sandbox.faults.add("part", status(400, "Invalid content range."))
    created = await client.call_tool("create_audio", {"title": "t"})
    audio_id = (created.structured_content or {})["audio_id"]
    path = make_audio(tmp_path / "podcast.mp3")
    await client.call_tool("upload_audio_file", {"audio_id": audio_id, "path": str(path)})
    failed = await progress(client, audio_id)
    assert (failed["state"], failed["running"]) == ("uploading", False)
    assert "Invalid content range." in failed["error"]


async def test_an_upload_that_this_server_did_not_begin_has_no_progress(client: Client) -> None:
    with pytest.raises(MCPError, match="No upload to audio an-id was begun by this server"):
        await progress(client, "an-id")
