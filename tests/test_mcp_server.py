from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client

from aioz_stream_audio import __version__
from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.sandbox.faults import raw, reset
from aioz_stream_audio.settings import Settings
from audio_files import make_audio

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp.types import CallToolResult

    from aioz_stream_audio.sandbox import Sandbox

pytestmark = pytest.mark.anyio


@pytest.fixture
async def client(settings: Settings) -> AsyncIterator[Client]:
    async with Client(build_server(settings)) as connected:
        yield connected


@pytest.fixture
def mp3(tmp_path: Path) -> Path:
    return make_audio(tmp_path / "podcast.mp3")


def said(result: CallToolResult) -> str:
    """Give the words of a tool error."""
    assert result.is_error
    assert result.structured_content is None
    return "".join(getattr(content, "text", "") for content in result.content)


async def given(client: Client, tool: str, **arguments: object) -> dict[str, Any]:
    """Call a tool that succeeds."""
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    structured: dict[str, Any] = result.structured_content
    return structured


async def uploaded(client: Client, path: Path) -> str:
    audio_id: str = (await given(client, "create_audio", title="t"))["audio_id"]
    await given(client, "upload_audio_file", audio_id=audio_id, path=str(path))
    return audio_id


async def test_the_server_says_who_it_is_and_how_its_tools_chain(client: Client) -> None:
    assert client.server_info is not None
    assert (client.server_info.name, client.server_info.version) == ("audio-upload-aioz-stream", __version__)
    for tool in ("create_audio", "upload_audio_file", "complete_upload", "get_audio_link"):
        assert tool in (client.instructions or "")


async def test_the_four_tools_say_honestly_what_they_do(client: Client) -> None:
    tools = {tool.name: tool for tool in (await client.list_tools()).tools}
    assert list(tools) == ["create_audio", "upload_audio_file", "complete_upload", "get_audio_link"]
    hints = {name: tool.annotations for name, tool in tools.items()}
    assert [name for name, hint in hints.items() if hint and hint.read_only_hint] == ["get_audio_link"]
    assert [name for name, hint in hints.items() if hint and hint.idempotent_hint] == [
        "upload_audio_file",
        "complete_upload",
    ]
    assert not any(hint and hint.destructive_hint for hint in hints.values())
    assert all(tool.title and tool.output_schema for tool in tools.values())


async def test_the_list_of_tools_is_small_and_its_optional_values_are_plain(client: Client) -> None:
    tools = [
        tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in (await client.list_tools()).tools
    ]
    assert len(json.dumps(tools)) <= 12_000
    assert "anyOf" not in json.dumps([tool["inputSchema"] for tool in tools])
    for tool in tools:
        assert tool["inputSchema"]["additionalProperties"] is False
        assert all("description" in parameter for parameter in tool["inputSchema"]["properties"].values())


async def test_the_chain_of_tools_brings_back_a_link(client: Client, sandbox: Sandbox, mp3: Path) -> None:
    created = await given(client, "create_audio", title="My Podcast")
    audio_id = created["audio_id"]
    assert (created["title"], created["mode"]) == ("My Podcast", "default")
    assert created["next_step"].startswith(f"Call upload_audio_file with audio_id {audio_id}")

    told: list[tuple[float, float | None]] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        assert message is None
        told.append((progress, total))

    arguments = {"audio_id": audio_id, "path": str(mp3)}
    upload: Any = (await client.call_tool("upload_audio_file", arguments, progress_callback=tell)).structured_content
    size = mp3.stat().st_size
    assert upload["state"] == "uploaded"
    assert (upload["path"], upload["size_bytes"], upload["sent_bytes"]) == (str(mp3.resolve()), size, size)
    assert (upload["parts_total"], upload["parts_done"], upload["parts_resumed"]) == (1, 1, 0)
    assert told.pop() == (size, size)
    assert upload["next_step"] == f"Call complete_upload with audio_id {audio_id}."

    completed = await given(client, "complete_upload", audio_id=audio_id)
    assert completed["status"] in {"transcoding", "done"}

    link = await given(client, "get_audio_link", audio_id=audio_id, wait_seconds=20)
    assert (link["ready"], link["status"], link["title"]) == (True, "done", "My Podcast")
    assert link["hls_url"].endswith(".m3u8")
    assert link["dash_url"] is None
    assert [quality["status"] for quality in link["qualities"]] == ["done"]
    assert "hls_url" in link["next_step"]
    assert sandbox.received(audio_id).read_bytes() == mp3.read_bytes()


async def test_a_custom_upload_is_sent_field_for_field(client: Client, sandbox: Sandbox) -> None:
    created = await given(
        client,
        "create_audio",
        title="My Podcast",
        is_public=True,
        tags=["podcast", "tech"],
        metadata=[{"key": "season", "value": "1"}],
        qualities=[{"resolution": "highest", "audio_config": {"bitrate": 320000, "sample_rate": 48000}}],
    )
    assert created["mode"] == "custom"
    assert sandbox.media[created["audio_id"]].create_body == {
        "title": "My Podcast",
        "type": "audio",
        "is_public": True,
        "tags": ["podcast", "tech"],
        "metadata": [{"key": "season", "value": "1"}],
        "qualities": [
            {
                "resolution": "highest",
                "type": "hls",
                "container_type": "mpegts",
                "audio_config": {"codec": "aac", "bitrate": 320000, "channels": "2", "sample_rate": 48000, "index": 0},
            }
        ],
    }


async def test_nulls_and_json_in_strings_that_hosts_send_are_understood(client: Client) -> None:
    created = await given(
        client, "create_audio", title="t", description=None, tags='["a", "b"]', qualities=None, public_key=None
    )
    assert created["mode"] == "custom"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "title is missing. Nothing was done."),
        ({"title": "é" * 128}, "title must be 1 to 255 bytes of UTF-8, and is 256. Nothing was done."),
        ({"title": "t", "bitrate": 320000}, "There is no argument 'bitrate', so nothing was done. It takes title, "),
        ({"title": "t", "quality": "highest"}, "Did you mean qualities?"),
        ({"title": "t", "secret_key": "marked key"}, "secret_key must be the key as AIOZ Stream shows it"),
        ({"title": "t", "secret_key": ["marked"]}, "secret_key must be a valid string. Nothing was done."),
        ({"title": "t", "public_key": "marked"}, "refused the create call with status 401"),
    ],
)
async def test_a_wrong_argument_creates_nothing_and_is_told_in_plain_words(
    client: Client, sandbox: Sandbox, arguments: dict[str, Any], words: str
) -> None:
    message = said(await client.call_tool("create_audio", arguments))
    assert words in message
    assert "marked" not in message
    assert not sandbox.media


async def test_without_keys_the_error_says_which_variables_to_set(url: str, tmp_path: Path) -> None:
    settings = Settings.from_environ({"AIOZ_STREAM_API_URL": url, "AIOZ_STREAM_STATE_DIR": str(tmp_path)})
    async with Client(build_server(settings)) as client:
        message = said(await client.call_tool("create_audio", {"title": "t"}))
    assert "STREAM_PUBLIC_KEY and STREAM_SECRET_KEY are not set" in message
    assert "last resort" in message


async def test_an_upload_that_outlasts_the_call_goes_on_and_is_joined(
    settings: Settings, sandbox: Sandbox, mp3: Path
) -> None:
    async with Client(build_server(settings)) as client:
        audio_id = (await given(client, "create_audio", title="t"))["audio_id"]
        first = await given(client, "upload_audio_file", audio_id=audio_id, path=str(mp3), wait_seconds=0)
        assert first["state"] == "uploading"
        assert first["next_step"].startswith("Still uploading, ")
        second = await given(client, "upload_audio_file", audio_id=audio_id, path=str(mp3))
        assert second["state"] == "uploaded"
    assert sandbox.account.count("part") == 1


async def test_complete_refuses_while_parts_are_missing(client: Client, sandbox: Sandbox) -> None:
    audio_id = (await given(client, "create_audio", title="t"))["audio_id"]
    assert "No part of audio" in said(await client.call_tool("complete_upload", {"audio_id": audio_id}))
    assert sandbox.account.count("complete") == 0


async def test_complete_called_again_reports_and_sends_nothing(client: Client, sandbox: Sandbox, mp3: Path) -> None:
    audio_id = await uploaded(client, mp3)
    for _ in range(3):
        await given(client, "complete_upload", audio_id=audio_id)
    assert sandbox.account.count("complete") == 1
    again = await given(client, "upload_audio_file", audio_id=audio_id, path=str(mp3))
    assert again["next_step"] == f"It was uploaded and completed before: call get_audio_link with audio_id {audio_id}."


@pytest.mark.parametrize(
    ("data", "words"),
    [
        ({"status": "transcoding"}, "Not ready yet: its status is transcoding. Tell the user, and call get_audio_link"),
        (
            {"status": "transcoding", "hls": "https://x.example/a.m3u8"},
            "A link is there already, but not every quality.",
        ),
        ({"status": "polishing"}, "Not ready yet: its status is polishing."),
        ({"status": "fail"}, "could not make a stream of it"),
        ({"status": "deleted"}, "The audio was deleted."),
        ({"status": "new"}, "AIOZ Stream still waits for it."),
        ({"status": "ready", "hls": "https://x.example/a.m3u8"}, "Done: give the user hls_url"),
    ],
)
async def test_each_status_has_its_next_step(
    client: Client, sandbox: Sandbox, data: dict[str, str], words: str
) -> None:
    answer = {"status": "success", "data": {"id": "an-id", "title": "t", **data}}
    sandbox.faults.add("detail", raw(200, "application/json", json.dumps(answer).encode()))
    assert words in (await given(client, "get_audio_link", audio_id="an-id"))["next_step"]


async def test_a_crash_tells_the_model_nothing_of_its_own_text(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Client(build_server(settings)) as client:
        monkeypatch.setattr("aioz_stream_audio.settings.Settings.keys", lambda *_: 1 / 0)
        assert said(await client.call_tool("create_audio", {"title": "t"})) == "Error executing tool create_audio"


async def test_a_part_that_begins_again_never_takes_progress_back(client: Client, sandbox: Sandbox, mp3: Path) -> None:
    sandbox.faults.add("part", reset(after_bytes=1000))
    audio_id = (await given(client, "create_audio", title="t"))["audio_id"]
    told: list[float] = []

    async def tell(progress: float, total: float | None, message: str | None) -> None:
        assert (total, message) == (mp3.stat().st_size, None)
        told.append(progress)

    with anyio.fail_after(90):
        await client.call_tool("upload_audio_file", {"audio_id": audio_id, "path": str(mp3)}, progress_callback=tell)
    assert told == sorted(set(told))


async def test_the_server_does_not_bring_rich_in_for_its_log(settings: Settings) -> None:
    present = sys.modules.get("rich.console")
    build_server(settings)
    assert sys.modules.get("rich.console") is present
