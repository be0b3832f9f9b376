"""OpenClaw: the skill, the plugin and the server, installed by the commands that the README gives."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aioz_stream_audio import __version__
from aioz_stream_audio.settings import APP_NAME
from clients.workbench import npm_version

if TYPE_CHECKING:
    from pathlib import Path

    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

TOOLS = ["complete_upload", "create_audio", "get_audio_link", "upload_audio_file"]


async def test_openclaw_installs_the_skill_and_finds_it_ready(workbench: Workbench, checkout: Path, tell: Tell) -> None:
    await workbench.run("openclaw", "skills", "install", f"./skills/{APP_NAME}", cwd=checkout)
    info = json.loads(await workbench.run("openclaw", "skills", "info", APP_NAME, "--json"))
    assert (info["name"], info["eligible"], info["emoji"]) == (APP_NAME, True, "🎧")
    assert info["primaryEnv"] == "STREAM_SECRET_KEY"
    tell("OpenClaw", npm_version("openclaw"), "installed the skill, which is ready")


async def test_openclaw_installs_the_plugin_with_its_skill_and_its_server(
    workbench: Workbench, checkout: Path, tell: Tell
) -> None:
    await workbench.run("openclaw", "plugins", "install", checkout, "--force", "--accept-capabilities")
    plugin = json.loads(await workbench.run("openclaw", "plugins", "inspect", APP_NAME, "--json"))
    assert plugin["install"]["version"] == __version__
    assert plugin["mcpServers"] == [{"name": APP_NAME, "hasStdioTransport": True}]
    assert set(plugin["bundleCapabilities"]) == {"mcpServers", "skills"}
    assert plugin["diagnostics"] == []
    tell("OpenClaw", npm_version("openclaw"), "installed the plugin: one skill, one server")


async def test_openclaw_adds_the_server_and_probes_it(
    workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell
) -> None:
    settings = [part for name, value in keys.items() for part in ("--env", f"{name}={value}")]
    server = ["--command", str(installed), "--arg", "serve", *settings]
    await workbench.run("openclaw", "mcp", "add", APP_NAME, *server)
    probe = json.loads(await workbench.run("openclaw", "mcp", "probe", APP_NAME, "--json"))
    assert probe["servers"][APP_NAME]["tools"] == len(TOOLS)
    assert probe["diagnostics"] == []
    probed = {name.rpartition("__")[2] for name in probe["tools"]}
    assert probed.issuperset(TOOLS)
    tell("OpenClaw", npm_version("openclaw"), "added the server, and probed its four tools")
