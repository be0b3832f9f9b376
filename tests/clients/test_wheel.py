"""The wheel as it is installed: what it carries, its command, and the Python client in both eras of the protocol."""

from __future__ import annotations

import json
import zipfile
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

import anyio
import pytest
from mcp import Client, StdioServerParameters

from aioz_stream_audio import __version__
from aioz_stream_audio.settings import APP_NAME
from clients.workbench import ROOT, SAMPLE, put_up

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.sandbox import Sandbox
    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]


def test_the_wheel_carries_the_package_its_types_and_the_skill_and_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as packed:
        names = packed.namelist()
        skill = packed.read("aioz_stream_audio/skill/SKILL.md")
    assert {name.partition("/")[0] for name in names} == {
        "aioz_stream_audio",
        f"audio_upload_aioz_stream-{__version__}.dist-info",
    }
    assert "aioz_stream_audio/py.typed" in names
    assert "aioz_stream_audio/skill/references/encoding.md" in names
    assert skill == (ROOT / "skills" / APP_NAME / "SKILL.md").read_bytes()


async def test_the_installed_command_uploads_a_file(
    workbench: Workbench, installed: Path, keys: dict[str, str], sandbox: Sandbox, tell: Tell
) -> None:
    assert await workbench.run(installed, "--version") == f"{__version__}\n"
    result = json.loads(await workbench.run(installed, "upload", SAMPLE, "--verify", "--json", env=keys))
    assert result["ready"]
    assert sandbox.received(result["audio_id"]).read_bytes() == SAMPLE.read_bytes()
    tell(APP_NAME, __version__, "installed from its wheel, uploaded a file whose link plays")


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_the_python_client_uploads_a_file_in_both_eras_of_the_protocol(
    workbench: Workbench, installed: Path, keys: dict[str, str], sandbox: Sandbox, tell: Tell, mode: str
) -> None:
    server = StdioServerParameters(command=str(installed), args=["serve"], env={**workbench.env, **keys})
    with anyio.fail_after(90):
        async with Client(server, mode=mode) as client:

            async def call(tool: str, given: dict[str, object]) -> dict[str, Any]:
                result = await client.call_tool(tool, given)
                assert not result.is_error, result.content
                return dict(result.structured_content or {})

            await put_up(call, sandbox)
            spoken = client.protocol_version
    tell("MCP Python client", version("mcp"), f"uploaded a file over protocol {spoken}")
