"""The skill as a client of the extension sees it, and as one that knows nothing of it does."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import pytest
import yaml
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, Request, TextResourceContents
from pydantic import BaseModel

from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.settings import Settings
from aioz_stream_audio.skill import GetSkillResult, ListSkillsResult, ReadDirectoryResult

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

pytestmark = pytest.mark.anyio

Answer = TypeVar("Answer", bound=BaseModel)
ROOT = "skill://audio-upload-aioz-stream"
ON_DISK = Path(__file__).parents[1] / "skills" / "audio-upload-aioz-stream"


@pytest.fixture
async def client() -> AsyncIterator[Client]:
    async with Client(build_server(Settings.from_environ({}))) as connected:
        yield connected


async def asked(client: Client, method: str, answer: type[Answer], **params: str) -> Answer:
    return await client.session.send_request(Request[dict[str, Any], str](method=method, params=params), answer)


async def read(client: Client, uri: str) -> bytes:
    (content,) = (await client.read_resource(uri)).contents
    assert isinstance(content, TextResourceContents)
    assert content.mime_type == "text/markdown"
    return content.text.encode()


async def test_the_server_declares_the_extension_and_that_it_reads_directories(client: Client) -> None:
    assert client.server_capabilities.extensions is not None
    assert client.server_capabilities.extensions["io.modelcontextprotocol/skills"] == {"directoryRead": True}


async def test_the_listing_names_every_file_with_the_digest_and_size_of_what_is_served(client: Client) -> None:
    (skill,) = (await asked(client, "skills/list", ListSkillsResult)).skills
    files = {path.relative_to(ON_DISK).as_posix() for path in ON_DISK.rglob("*") if path.is_file()}
    assert {resource.uri for resource in skill.resources} == {f"{ROOT}/{name}" for name in files}
    for resource in skill.resources:
        content = await read(client, resource.uri)
        assert (resource.digest, resource.size) == (f"sha256:{hashlib.sha256(content).hexdigest()}", len(content))
        assert content == (ON_DISK / resource.uri.removeprefix(f"{ROOT}/")).read_bytes()


async def test_the_frontmatter_is_the_manifests_field_for_field(client: Client) -> None:
    (skill,) = (await asked(client, "skills/list", ListSkillsResult)).skills
    _, header, _ = (await read(client, f"{ROOT}/SKILL.md")).decode().split("---", 2)
    assert skill.uri == f"{ROOT}/SKILL.md"
    assert skill.frontmatter == yaml.safe_load(header)
    assert skill.frontmatter["name"] == "audio-upload-aioz-stream"


async def test_getting_the_skill_gives_the_entry_of_the_listing(client: Client) -> None:
    (listed,) = (await asked(client, "skills/list", ListSkillsResult)).skills
    got = await asked(client, "skills/get", GetSkillResult, uri=listed.uri)
    assert got.skill == listed
    assert (got.ttl_ms, got.cache_scope) == (24 * 3600 * 1000, "public")


async def test_directories_are_read_level_by_level(client: Client) -> None:
    top = (await asked(client, "resources/directory/read", ReadDirectoryResult, uri=ROOT)).resources
    assert [(child.uri, child.name, child.mime_type) for child in top] == [
        (f"{ROOT}/SKILL.md", "SKILL.md", "text/markdown"),
        (f"{ROOT}/references", "references", "inode/directory"),
    ]
    inner = (await asked(client, "resources/directory/read", ReadDirectoryResult, uri=f"{ROOT}/references")).resources
    assert [child.uri for child in inner] == [f"{ROOT}/references/encoding.md"]


@pytest.mark.parametrize(
    ("method", "uri"),
    [
        ("skills/get", f"{ROOT}/references/encoding.md"),
        ("skills/get", "skill://other/SKILL.md"),
        ("resources/directory/read", f"{ROOT}/SKILL.md"),
        ("resources/directory/read", f"{ROOT}/"),
        ("resources/directory/read", "file:///etc"),
    ],
)
async def test_what_is_not_there_is_an_invalid_parameter_and_named(client: Client, method: str, uri: str) -> None:
    with pytest.raises(MCPError) as caught:
        await asked(client, method, ListSkillsResult, uri=uri)
    assert caught.value.code == INVALID_PARAMS
    assert f"at {uri};" in caught.value.message


async def test_a_client_that_knows_nothing_of_skills_sees_plain_resources(client: Client) -> None:
    resources = {resource.uri: resource for resource in (await client.list_resources()).resources}
    manifest = resources[f"{ROOT}/SKILL.md"]
    assert manifest.name == "audio-upload-aioz-stream"
    assert manifest.description is not None
    assert manifest.description.startswith("Puts audio files")
    assert f"{ROOT}/references/encoding.md" in resources


def test_the_root_points_to_the_one_manifest() -> None:
    assert Path(__file__).parents[1].joinpath("skill.md").resolve() == ON_DISK / "SKILL.md"
