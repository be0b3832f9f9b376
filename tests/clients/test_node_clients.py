"""Clients that run on Node, each of which uploads a file by way of the installed wheel."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest

from aioz_stream_audio import __version__
from aioz_stream_audio.settings import APP_NAME
from clients.workbench import HERE, MODULES, SAMPLE, npm_version, put_up

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.sandbox import Sandbox
    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


async def test_the_inspectors_command_line_uploads_a_file(
    workbench: Workbench, installed: Path, keys: dict[str, str], sandbox: Sandbox, tell: Tell
) -> None:
    async def ask(*arguments: str) -> dict[str, Any]:
        settings = [part for name, value in keys.items() for part in ("-e", f"{name}={value}")]
        said = await workbench.run("mcp-inspector", "--cli", installed, "serve", *settings, "--method", *arguments)
        return dict(json.loads(said))

    async def call(tool: str, given: dict[str, object]) -> dict[str, Any]:
        pairs = [part for name, value in given.items() for part in ("--tool-arg", f"{name}={value}")]
        result = await ask("tools/call", "--tool-name", tool, *pairs)
        assert not result["isError"], result
        return dict(result["structuredContent"])

    # --strict ends with an error where a schema would not be understood by every host.
    tools = (await ask("tools/list", "--strict"))["tools"]
    assert len(tools) == 4
    await put_up(call, sandbox)
    tell("MCP Inspector", npm_version("@modelcontextprotocol/inspector"), "listed the tools strictly, uploaded a file")


async def test_the_inspector_verifies_the_skill_that_the_installed_server_serves(
    workbench: Workbench, installed: Path, tell: Tell
) -> None:
    listing = ("--protocol-era", "auto", "--method", "skills/list", "--verify", "--require-digests")
    report = json.loads(await workbench.run("mcp-inspector", "--cli", installed, "serve", *listing))
    assert (report["name"], report["outcome"], report["conformance"]) == (APP_NAME, "verified", [])
    assert {file["status"] for file in report["files"]} == {"verified"}
    tell("MCP Inspector", npm_version("@modelcontextprotocol/inspector"), "verified the skill that the server serves")


async def test_mcporter_uploads_a_file(
    workbench: Workbench, installed: Path, keys: dict[str, str], sandbox: Sandbox, tell: Tell
) -> None:
    async def call(tool: str, given: dict[str, object]) -> dict[str, Any]:
        settings = [part for name, value in keys.items() for part in ("--env", f"{name}={value}")]
        server = ["--stdio", str(installed), "--stdio-arg", "serve", *settings]
        said = await workbench.run("mcporter", "call", *server, tool, "--args", json.dumps(given), "--output", "json")
        return dict(json.loads(said))

    await put_up(call, sandbox)
    tell("mcporter", npm_version("mcporter"), "uploaded a file")


async def test_the_typescript_sdks_client_uploads_a_file_and_hears_of_progress(
    workbench: Workbench, installed: Path, keys: dict[str, str], sandbox: Sandbox, tell: Tell
) -> None:
    # A module is looked up from where the program is.
    program = shutil.copy(HERE / "put_up.mjs", MODULES.parent)
    said = json.loads(await workbench.run("node", program, SAMPLE, installed, "serve", env=keys))

    async def call(tool: str, _: dict[str, object]) -> dict[str, Any]:
        return dict(said["results"][tool])

    await put_up(call, sandbox)
    assert said["server"]["version"] == __version__
    # The last of them may be lost: this client forgets who listens the moment it has read the answer.
    assert said["progress"]
    assert set(said["progress"]) <= {0, SAMPLE.stat().st_size}
    tell("@modelcontextprotocol/sdk", npm_version("@modelcontextprotocol/sdk"), "uploaded a file, heard of progress")
