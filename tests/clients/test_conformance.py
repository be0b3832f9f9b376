"""The protocol's official conformance suite, against this server and against the least one of the same SDK."""

from __future__ import annotations

import re
import socket
import sys
from contextlib import asynccontextmanager
from subprocess import DEVNULL
from typing import TYPE_CHECKING

import anyio
import pytest

from clients.workbench import HERE, npm_version

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping
    from pathlib import Path

    from clients.conftest import Tell
    from clients.workbench import Workbench

pytestmark = [pytest.mark.anyio, pytest.mark.clients]

# The scenarios that ask for none of the suite's own tools, prompts and resources.
SCENARIOS = (
    "server-initialize",
    "server-session-lifecycle",
    "server-stateless",
    "ping",
    "tools-list",
    "resources-list",
    "prompts-list",
    "sep-2164-resource-not-found",
    "server-sse-multiple-streams",
    "dns-rebinding-protection",
    "caching",
    "http-header-validation",
    "input-required-result-unsupported-methods",
    "input-required-result-ignore-extra-params",
)
SKILLS = ("sep-2640-skills-directory", "sep-2640-skills-enumeration", "sep-2640-skills-manifest")
# Of the many checks of this one, the SDK itself fails these two: they call a tool of the suite's own.
FAILED_BY_THE_SDK = {"server-stateless": 2}


@asynccontextmanager
async def serving(*command: str | Path, env: Mapping[str, str]) -> AsyncIterator[str]:
    """Run a server on a free port, which is put after the command; gives its address once it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    process = await anyio.open_process([*map(str, command), str(port)], env=env, stdout=DEVNULL, stderr=DEVNULL)
    try:
        with anyio.fail_after(90):
            while True:
                try:
                    await (await anyio.connect_tcp("127.0.0.1", port)).aclose()
                    break
                except OSError:
                    await anyio.sleep(0.1)
        yield f"http://127.0.0.1:{port}/mcp"
    finally:
        process.terminate()
        await process.wait()


async def checks(workbench: Workbench, scenario: str, url: str) -> tuple[int, int]:
    """Run a scenario; gives how many of its checks passed, and how many failed."""
    said = await workbench.told("conformance", "server", "--url", url, "--scenario", scenario, may_fail=True)
    result = re.search(r"Passed: (\d+)/\d+, (\d+) failed", said)
    assert result, said
    return int(result[1]), int(result[2])


async def test_the_server_conforms_as_far_as_the_sdk_does(
    workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell
) -> None:
    own = serving(installed, "serve", "--http", "--port", env={**workbench.env, **keys})
    bare = serving(sys.executable, HERE / "bare_http_server.py", env=workbench.env)
    async with own as url, bare as bare_url:
        for scenario in SCENARIOS:
            passed, failed = await checks(workbench, scenario, url)
            passed_bare, failed_bare = await checks(workbench, scenario, bare_url)
            assert (scenario, failed) == (scenario, failed_bare)
            assert failed == FAILED_BY_THE_SDK.get(scenario, 0)
            # More to list is more to check.
            assert passed >= passed_bare > 0
        for scenario in SKILLS:
            passed, failed = await checks(workbench, scenario, url)
            assert (scenario, failed) == (scenario, 0)
            assert passed > 5
    done = f"{len(SCENARIOS)} scenarios as a bare server, {len(SKILLS)} of skills"
    tell("MCP conformance suite", npm_version("@modelcontextprotocol/conformance"), done)


async def test_the_inspector_loads_a_tool_with_fifty_calls_at_once_and_none_fails(
    workbench: Workbench, installed: Path, keys: dict[str, str], tell: Tell
) -> None:
    settings = [part for name, value in keys.items() for part in ("-e", f"{name}={value}")]
    call = ("--method", "tools/call", "--tool-name")
    server: tuple[str | Path, ...] = ("mcp-inspector", "--cli", installed, "serve", *settings, *call)
    created = await workbench.run(*server, "create_audio", "--tool-arg", "title=t")
    audio_id = re.search(r'"audio_id": "([^"]+)"', created)
    assert audio_id, created
    load = ("--load", "--load-concurrency", "50", "--load-duration", "10")
    said = await workbench.run(*server, "get_audio_link", "--tool-arg", f"audio_id={audio_id[1]}", *load)
    assert re.search(r'"errorRate": 0,', said), said
    assert re.search(r'"toolErrors": 0,', said), said
    tell("MCP Inspector", npm_version("@modelcontextprotocol/inspector"), "fifty calls at once for 10 s, none failed")
