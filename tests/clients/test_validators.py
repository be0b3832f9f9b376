"""What others publish to check such files with."""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

import pytest

from aioz_stream_audio.settings import APP_NAME

if TYPE_CHECKING:
    from pathlib import Path

    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


async def test_the_skill_is_valid_by_the_reference_library_of_agent_skills(
    workbench: Workbench, checkout: Path, tell: Tell
) -> None:
    assert "Valid skill" in await workbench.run("agentskills", "validate", checkout / "skills" / APP_NAME)
    tell("skills-ref", version("skills-ref"), "found the skill valid")


async def test_server_json_is_valid_by_the_published_schema_and_the_plugin_by_its_rules(
    workbench: Workbench, checkout: Path, tell: Tell
) -> None:
    said = await workbench.told("skillsaw", "lint", checkout)
    assert "Repo type: agentskills, marketplace, mcp-registry" in said
    assert "Errors:   0" in said
    tell("skillsaw", version("skillsaw"), "found server.json valid by the MCP registry's schema, and the plugin sound")
