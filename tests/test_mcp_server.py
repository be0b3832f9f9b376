from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, TextContent, TextResourceContents

from aioz_stream_audio import __version__
from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.sandbox.faults import raw, reset, stall
from aioz_stream_audio.settings import Settings
from audio_files import MIB, make_audio, make_large_audio
from tool_snapshot import SNAPSHOT, tools_list

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

    from mcp.types import CallToolResult, GetPromptResult

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


def spoken(prompt: GetPromptResult) -> str:
    """Give the words of a prompt's one message."""
    (message,) = prompt.messages
    assert message.role == "user"
    assert isinstance(message.content, TextContent)
    return message.content.text


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


async def test_the_list_of_tools_is_the_one_that_was_agreed() -> None:
    """A change is meant to be seen: `make snapshot` writes it anew, and the diff is read."""
    assert await tools_list() == json.loads(SNAPSHOT.read_text(encoding="utf-8"))


async def test_the_list_of_tools_is_small_and_its_inputs_are_plain_and_described() -> None:
    tools = await tools_list()
    assert len(json.dumps(tools)) <= 12_000
    inputs = [tool["inputSchema"] for tool in tools]
    assert "anyOf" not in json.dumps(inputs)
    for schema in (nested for whole in inputs for nested in (whole, *whole.get("$defs", {}).values())):
        assert schema["additionalProperties"] is False
        assert {name for name, about in schema["properties"].items() if not about.get("description")} == set()


async def test_the_prompt_asks_for_what_is_not_known_and_never_for_keys_that_are_configured(client: Client) -> None:
    (prompt,) = (await client.list_prompts()).prompts
    assert (prompt.name, [argument.required for argument in prompt.arguments or ()]) == ("upload_audio", [False] * 3)
    words = spoken(await client.get_prompt("upload_audio", {}))
    assert "The API keys are configured in the server. Do not ask me for them." in words
    assert "Ask me for the path" in words
    assert "Ask me for the title" in words
    assert "the default upload, which needs the title alone, or a custom one?" in words


async def test_the_prompt_repeats_what_the_user_gave_and_asks_nothing_of_that(client: Client) -> None:
    given = {"path": "/music/a.mp3", "title": "My Podcast", "wishes": "highest quality, 320 kbit/s"}
    words = spoken(await client.get_prompt("upload_audio", given))
    for value in given.values():
        assert value in words
    assert "Ask me" not in words


async def test_without_keys_the_prompt_says_how_to_configure_them_before_anything_else() -> None:
    async with Client(build_server(Settings.from_environ({}))) as client:
        words = spoken(await client.get_prompt("upload_audio", {}))
    assert words.index("set STREAM_PUBLIC_KEY and STREAM_SECRET_KEY") < words.index("Ask me for the path")


@pytest.mark.parametrize(
    ("name", "arguments", "words"),
    [
        ("upload", {}, "There is no such prompt; there is upload_audio."),
        ("upload_audio", {"file": "marked"}, "There is no argument 'file', so nothing was done."),
        ("upload_audio", {"secret_key": "marked"}, "There is no argument 'secret_key', so nothing was done."),
    ],
)
async def test_a_wrong_request_for_the_prompt_is_refused_and_never_logged_with_its_values(
    client: Client, caplog: pytest.LogCaptureFixture, name: str, arguments: dict[str, str], words: str
) -> None:
    with pytest.raises(MCPError) as caught:
        await client.get_prompt(name, arguments)
    assert caught.value.code == INVALID_PARAMS
    assert words in caught.value.message
    assert "marked" not in caplog.text + caught.value.message
    assert "Traceback" not in caplog.text


async def test_the_reference_names_every_value_that_the_schema_allows(client: Client) -> None:
    resource = (await client.list_resources()).resources[0]
    assert (resource.uri, resource.mime_type) == ("aioz-stream://encoding-reference", "text/markdown")
    (content,) = (await client.read_resource(resource.uri)).contents
    assert isinstance(content, TextResourceContents)
    definitions = (await tools_list())[0]["inputSchema"]["$defs"]
    for kind in ("Quality", "AudioConfig"):
        for name, about in definitions[kind]["properties"].items():
            values = about.get("enum", [about["const"]] if "const" in about else [])
            assert [value for value in (name, *values) if str(value) not in content.text] == []


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
        (
            {"title": "t", "bitrate": 320000},
            "There is no argument 'bitrate', so nothing was done. It belongs into quali",
        ),
        (
            {"title": "t", "type": "hls"},
            'It belongs into qualities, such as [{"resolution": "highest", "type": "hls"}].',
        ),
        ({"title": "t", "zzz": 1}, "There is no argument 'zzz', so nothing was done. It takes title, description, "),
        ({"title": "t", "is_public": "perhaps"}, "is_public must be true or false, not 'perhaps'. Nothing was done."),
        ({"title": "t", "quality": "highest"}, "Did you mean qualities?"),
        ({"title": "t", "secret_key": "marked key"}, "secret_key must be the key as AIOZ Stream shows it"),
        ({"title": "t", "secret_key": ["marked"]}, "secret_key must be text. Nothing was done."),
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


async def test_completing_what_is_ready_leads_to_the_tool_that_has_the_links(
    client: Client, sandbox: Sandbox, mp3: Path
) -> None:
    audio_id = await uploaded(client, mp3)
    await given(client, "complete_upload", audio_id=audio_id)
    await given(client, "get_audio_link", audio_id=audio_id, wait_seconds=20)
    again = await given(client, "complete_upload", audio_id=audio_id)
    assert again["next_step"] == f"It is ready: call get_audio_link with audio_id {audio_id} for its links."
    assert sandbox.account.count("complete") == 1


async def test_complete_called_again_reports_and_sends_nothing(client: Client, sandbox: Sandbox, mp3: Path) -> None:
    audio_id = await uploaded(client, mp3)
    for _ in range(3):
        await given(client, "complete_upload", audio_id=audio_id)
    assert sandbox.account.count("complete") == 1
    again = await given(client, "upload_audio_file", audio_id=audio_id, path=str(mp3))
    assert again["next_step"] == f"It was uploaded and completed before: call get_audio_link with audio_id {audio_id}."


async def test_a_call_that_is_cancelled_drains_its_upload_and_the_next_one_goes_on(
    settings: Settings, sandbox: Sandbox, tmp_path: Path
) -> None:
    small = settings.model_copy(update={"part_size_mib": 1, "parallel_parts": 2})
    path = str(make_large_audio(tmp_path / "long.wav", 8 * MIB))
    released = anyio.Event()
    sandbox.faults.add("part", stall(until=released), times=2)
    with anyio.fail_after(90):
        async with Client(build_server(small)) as client:
            audio_id = (await given(client, "create_audio", title="t"))["audio_id"]
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(client.call_tool, "upload_audio_file", {"audio_id": audio_id, "path": path})
                while sandbox.account.count("part") < 2:  # noqa: ASYNC110 - there is no event
                    await anyio.sleep(0.01)
                tasks.cancel_scope.cancel()
            # The word of it is on its way to the server; had it been lost, all eight parts would be asked for.
            await anyio.sleep(0.3)
            released.set()
            await anyio.sleep(0.3)
            assert sandbox.account.count("part") == 2
            upload = await given(client, "upload_audio_file", audio_id=audio_id, path=path)
    assert (upload["state"], upload["parts_resumed"], sandbox.account.count("part")) == ("uploaded", 2, 8)


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
        ({"status": "done"}, "AIOZ Stream says that it is done, but gives no link."),
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
