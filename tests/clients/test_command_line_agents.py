"""Claude Code, Codex CLI and Gemini CLI: what of them works without an account of theirs."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest

from aioz_stream_audio.settings import APP_NAME
from clients.workbench import npm_version

if TYPE_CHECKING:
    from pathlib import Path

    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


async def test_claude_code_finds_nothing_wrong_with_the_plugin_installs_it_and_connects(
    workbench: Workbench, checkout: Path, tell: Tell
) -> None:
    assert "Validation passed" in await workbench.told("claude", "plugin", "validate", checkout)
    values = ("--config", "public_key=public", "--config", "secret_key=secret")
    await workbench.run("claude", "plugin", "install", APP_NAME, "--marketplace", checkout, *values)
    assert f"uvx --from {checkout} {APP_NAME} serve - ✔ Connected" in await workbench.told("claude", "mcp", "list")
    tell("Claude Code", npm_version("@anthropic-ai/claude-code"), "validated and installed the plugin, connected to it")


async def test_claude_code_adds_the_server_and_connects(
    workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell
) -> None:
    settings = [part for name, value in keys.items() for part in ("--env", f"{name}={value}")]
    await workbench.run("claude", "mcp", "add", APP_NAME, "--scope", "user", *settings, "--", installed, "serve")
    assert f"{APP_NAME}: {installed} serve - ✔ Connected" in await workbench.told("claude", "mcp", "list")
    tell("Claude Code", npm_version("@anthropic-ai/claude-code"), "added the server, connected to it")


async def test_codex_adds_the_server(workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell) -> None:
    settings = [part for name, value in keys.items() for part in ("--env", f"{name}={value}")]
    await workbench.run("codex", "mcp", "add", APP_NAME, *settings, "--", installed, "serve")
    (server,) = json.loads(await workbench.run("codex", "mcp", "list", "--json"))
    assert (server["name"], server["enabled"], server["transport"]["type"]) == (APP_NAME, True, "stdio")
    assert (server["transport"]["args"], server["transport"]["env"]) == (["serve"], keys)
    tell("Codex CLI", npm_version("@openai/codex"), "added the server, which it reads back")


async def test_gemini_adds_the_server_and_connects(
    workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell
) -> None:
    settings = [part for name, value in keys.items() for part in ("-e", f"{name}={value}")]
    # Left alone it waits for 5 s, which a machine that is busy with other things may need for Python alone.
    patient = ("--timeout", "120000")
    await workbench.run("gemini", "mcp", "add", "--scope", "user", *patient, APP_NAME, installed, "serve", *settings)
    # It connects only from a directory that its user trusts.
    trusted = workbench.home / ".gemini" / "trustedFolders.json"
    trusted.write_text(json.dumps({str(workbench.home): "TRUST_FOLDER"}))
    assert f"✓ {APP_NAME}: {installed} serve (stdio) - Connected" in await workbench.told("gemini", "mcp", "list")
    tell("Gemini CLI", npm_version("@google/gemini-cli"), "added the server, connected to it")
