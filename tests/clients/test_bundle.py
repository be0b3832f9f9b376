"""The MCP Bundle: packed and unpacked by mcpb, and started as a host does by what its manifest says."""

from __future__ import annotations

import json
import shutil
import zipfile
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY
from aioz_stream_audio.settings import APP_NAME
from clients.workbench import HERE, MODULES, ROOT, SAMPLE, npm_version, put_up

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.sandbox import Sandbox
    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

CONTENTS = {"LICENSE", "PRIVACY.md", "README.md", "assets", "manifest.json", "pyproject.toml", "server", "skills"}


async def test_mcpb_validates_the_manifest_and_packs_what_a_bundle_needs(
    workbench: Workbench, checkout: Path, tell: Tell
) -> None:
    await workbench.run("mcpb", "validate", checkout / "manifest.json")
    bundle = workbench.home / "packed.mcpb"
    await workbench.run("mcpb", "pack", checkout, bundle)
    with zipfile.ZipFile(bundle) as packed:
        names = packed.namelist()
    assert {name.partition("/")[0] for name in names} == CONTENTS
    assert [name for name in names if name.startswith("assets/")] == ["assets/icon.png"]
    assert f"skills/{APP_NAME}/SKILL.md" in names
    tell("mcpb", npm_version("@anthropic-ai/mcpb"), f"validated the manifest, packed {len(names)} files")


async def test_the_unpacked_bundle_starts_as_its_manifest_says_and_uploads_from_the_chosen_folders_alone(
    workbench: Workbench, checkout: Path, url: str, sandbox: Sandbox, tell: Tell
) -> None:
    bundle, unpacked = workbench.home / "packed.mcpb", workbench.home / "unpacked"
    await workbench.run("mcpb", "pack", checkout, bundle)
    await workbench.run("mcpb", "unpack", bundle, unpacked)
    outside = shutil.copy(SAMPLE, workbench.home)
    parameters = await started(workbench, unpacked, url, [str(SAMPLE.parent), str(ROOT / "benchmarks")])

    with anyio.fail_after(300):
        async with Client(parameters) as client:

            async def call(tool: str, given: dict[str, object]) -> dict[str, Any]:
                result = await client.call_tool(tool, given)
                assert not result.is_error, result.content
                return dict(result.structured_content or {})

            await put_up(call, sandbox)
            refused = await client.call_tool("upload_audio_file", {"audio_id": "any", "path": outside})
    assert refused.is_error
    (content,) = refused.content
    assert isinstance(content, TextContent)
    assert "is outside the directories that may be uploaded from" in content.text
    tell("mcpb", npm_version("@anthropic-ai/mcpb"), "unpacked the bundle; started by uv, it uploaded a file")


async def started(workbench: Workbench, unpacked: Path, url: str, directories: list[str]) -> StdioServerParameters:
    """What a host starts, by mcpb's own reading of the manifest and of what a user filled in."""
    filled_in = {
        "public_key": PUBLIC_KEY,
        "secret_key": SECRET_KEY,
        "api_url": url,
        "allowed_directories": directories,
    }
    # A module is looked up from where the program is.
    program = shutil.copy(HERE / "host_config.mjs", MODULES.parent)
    config = json.loads(await workbench.run("node", program, unpacked, json.dumps(filled_in)))
    assert config["args"][-len(directories) :] == directories
    state = {"AIOZ_STREAM_STATE_DIR": str(workbench.home / "state")}
    return StdioServerParameters(
        command=config["command"], args=config["args"], env={**workbench.env, **config["env"], **state}
    )
