"""Whatever describes this software to a host or a reader names what exists, and all of it is in step."""

from __future__ import annotations

import json
import re
import runpy
import zlib
from functools import cache
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import typer
from mcp import Client
from pydantic import AliasChoices

from aioz_stream_audio import __version__
from aioz_stream_audio.cli import app
from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.models import (
    BIT_RATE_MAX,
    BIT_RATE_MIN,
    CONTAINERS,
    PRESET_BIT_RATES,
    PRESET_SAMPLE_RATES,
    SAMPLE_RATES,
)
from aioz_stream_audio.settings import APP_NAME, PRODUCTION_URL, W3STREAM_URL, Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.anyio

ROOT = Path(__file__).parents[1]
SKILL = ROOT / "skills" / APP_NAME / "SKILL.md"
ENCODING = SKILL.parent / "references" / "encoding.md"
PROSE = [ROOT / "README.md", ROOT / "PRIVACY.md", ROOT / "CHANGELOG.md", ROOT / "CONTRIBUTING.md", SKILL, ENCODING]
HOST_FILES = [ROOT / name for name in ("manifest.json", "server.json", ".mcp.json", ".claude-plugin/plugin.json")]


def read(name: str) -> dict[str, Any]:
    return dict(json.loads((ROOT / name).read_text()))


@cache
def variables() -> frozenset[str]:
    """The environment variables that there are."""
    aliases = [field.validation_alias for field in Settings.model_fields.values()]
    return frozenset(str(name) for alias in aliases if isinstance(alias, AliasChoices) for name in alias.choices)


async def offered() -> tuple[dict[str, set[str]], dict[str, list[str]], set[str]]:
    """The server's tools with their parameters, its prompts with their arguments, and every name in the schemas."""
    async with Client(build_server(Settings())) as client:
        tools = (await client.list_tools()).tools
        prompts = (await client.list_prompts()).prompts
    schemas = [schema for tool in tools for schema in (tool.input_schema, tool.output_schema)]
    return (
        {tool.name: set(tool.input_schema["properties"]) for tool in tools},
        {prompt.name: [argument.name for argument in prompt.arguments or []] for prompt in prompts},
        set(names_in(schemas)),
    )


def names_in(schema: object) -> Iterator[str]:
    """The names of properties in a JSON schema, however deep."""
    if isinstance(schema, dict):
        yield from schema.get("properties", {})
        for value in schema.values():
            yield from names_in(value)
    elif isinstance(schema, list):
        for value in schema:
            yield from names_in(value)


def commands() -> dict[str, set[str]]:
    """The commands that there are, each with its options."""
    group = typer.main.get_command(app)
    common = {option for parameter in group.params for option in parameter.opts} | {"--help"}
    listed = getattr(group, "commands", {})
    return {
        name: common | {option for each in command.params for option in (*each.opts, *each.secondary_opts)}
        for name, command in listed.items()
    }


def test_one_version_is_everywhere() -> None:
    server = read("server.json")
    (package,) = server["packages"]
    (skill_version,) = re.findall(r'^  version: "(.+)"$', SKILL.read_text(), re.MULTILINE)
    newest = re.findall(r"^## (\S+)$", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[0]
    versions = {
        "manifest.json": read("manifest.json")["version"],
        "plugin.json": read(".claude-plugin/plugin.json")["version"],
        "server.json": server["version"],
        "server.json, its package": package["version"],
        "SKILL.md": skill_version,
        "CHANGELOG.md": newest,
    }
    assert versions == dict.fromkeys(versions, __version__)


def test_one_name_is_everywhere() -> None:
    (package,) = read("server.json")["packages"]
    (plugin,) = read(".claude-plugin/marketplace.json")["plugins"]
    (started,) = read(".mcp.json")["mcpServers"]
    (skill_name,) = re.findall(r"^name: (.+)$", SKILL.read_text(), re.MULTILINE)
    names = [read("manifest.json")["name"], read(".claude-plugin/plugin.json")["name"], plugin["name"]]
    assert {*names, package["identifier"], started, skill_name, SKILL.parent.name} == {APP_NAME}


def test_one_description_is_everywhere() -> None:
    (declared,) = re.findall(r'^description = "(.+)"$', (ROOT / "pyproject.toml").read_text(), re.MULTILINE)
    (listed,) = read(".claude-plugin/marketplace.json")["plugins"]
    told = [read(name)["description"] for name in ("manifest.json", "server.json", ".claude-plugin/plugin.json")]
    assert declared.startswith("Put an audio file on AIOZ Stream")
    assert len(set(told)) == 1
    assert listed["description"] == told[0]


async def test_the_manifest_lists_the_servers_tools_and_prompts() -> None:
    tools, prompts, _ = await offered()
    manifest = read("manifest.json")
    assert [tool["name"] for tool in manifest["tools"]] == list(tools)
    assert {prompt["name"]: prompt["arguments"] for prompt in manifest["prompts"]} == prompts


def test_the_manifest_asks_for_what_it_uses_and_uses_what_it_asks_for() -> None:
    manifest = read("manifest.json")
    config = manifest["server"]["mcp_config"]
    used = re.findall(r"\$\{user_config\.(\w+)\}", json.dumps(config))
    assert sorted(used) == sorted(manifest["user_config"])
    # mcpb puts a list only into arguments: in the environment it would leave the placeholder, which allows everything.
    assert config["args"][-1] == "${user_config.allowed_directories}"
    assert manifest["user_config"]["allowed_directories"]["required"]
    assert manifest["user_config"]["api_url"]["default"] == W3STREAM_URL
    assert PRODUCTION_URL in manifest["user_config"]["api_url"]["description"]


@pytest.mark.parametrize("name", ["manifest.json", ".claude-plugin/plugin.json"])
def test_keys_are_asked_for_as_secrets(name: str) -> None:
    asked = {**read(name).get("user_config", {}), **read(name).get("userConfig", {})}
    assert all(asked[key]["sensitive"] for key in ("public_key", "secret_key"))


def test_the_plugin_asks_for_what_its_server_uses() -> None:
    used = set(re.findall(r"\$\{user_config\.(\w+)\}", (ROOT / ".mcp.json").read_text()))
    assert used == set(read(".claude-plugin/plugin.json")["userConfig"])


def test_files_that_the_manifest_names_are_there() -> None:
    manifest = read("manifest.json")
    assert (ROOT / manifest["server"]["entry_point"]).is_file()
    assert (ROOT / manifest["icon"]).is_file()


def test_the_icon_is_what_its_script_draws() -> None:
    script = runpy.run_path(str(ROOT / "assets" / "draw_icon.py"))
    drawn, kept = script["png"](script["pixels"]()), (ROOT / "assets" / "icon.png").read_bytes()
    # Compressed bytes may differ from one zlib to another; after 41 bytes of head comes what it compressed.
    assert kept[:37] == drawn[:37]
    assert zlib.decompressobj().decompress(kept[41:]) == zlib.decompressobj().decompress(drawn[41:])


def test_the_skill_at_the_root_is_a_link_to_the_one_skill() -> None:
    root = ROOT / "skill.md"
    assert root.is_symlink()
    assert root.resolve() == SKILL
    assert not SKILL.is_symlink()


def test_what_the_skill_says_of_itself_is_within_the_limits_of_agent_skills() -> None:
    head = SKILL.read_text().split("---\n")[1]
    limits = {"name": 64, "description": 1024, "compatibility": 500}
    for field, limit in limits.items():
        (value,) = re.findall(rf"^{field}: (.+)$", head, re.MULTILINE)
        assert 0 < len(value) <= limit


@pytest.mark.parametrize("path", PROSE + HOST_FILES, ids=lambda path: str(path.relative_to(ROOT)))
def test_every_variable_that_is_named_exists(path: Path) -> None:
    named = set(re.findall(r"(?<![\w.])(?:AIOZ_)?STREAM_[A-Z_]+(?!\w)", path.read_text()))
    assert named <= variables()


def test_the_readme_names_every_variable() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in variables() if f"`{name}`" not in readme]


@pytest.mark.parametrize("path", [ROOT / "README.md", SKILL, ENCODING], ids=lambda path: path.name)
async def test_every_tool_and_field_that_is_named_exists(path: Path) -> None:
    tools, prompts, fields = await offered()
    code = re.findall(r"`([^`\n]+)`", path.read_text())
    named = {name for name in code if re.fullmatch(r"[a-z]+(_[a-z]+)+", name)}
    assert named <= {*tools, *prompts, *fields, "aioz_stream_audio"}


@pytest.mark.parametrize("path", [ROOT / "README.md", SKILL], ids=lambda path: path.name)
async def test_every_call_that_is_written_out_is_one_that_its_tool_takes(path: Path) -> None:
    tools, _, fields = await offered()
    for block in re.findall(r"```json\n(.+?)```", path.read_text(), re.DOTALL):
        given = json.loads(block)
        if "title" in given:
            assert set(given) <= tools["create_audio"]
            assert set(re.findall(r'"(\w+)":', block)) <= fields


def written_out(text: str) -> Iterator[tuple[str, set[str]]]:
    """The command lines of this software in Markdown's code, each as its command and its options."""
    for code in re.findall(r"```console\n(.+?)```|`([^`\n]+)`", text, re.DOTALL):
        for line in "".join(code).splitlines():
            words = line.removeprefix("$ ").split("#")[0].split()
            # In `openclaw mcp add audio-upload-aioz-stream ...` it is a name; what starts a command ends with it.
            for place, (word, command) in enumerate(pairwise(words)):
                starts = (
                    place == 0 or words[place - 1] in {"--", APP_NAME} or words[place - 2 : place - 1] == ["--from"]
                )
                if word == APP_NAME != command and starts and not command.startswith("-"):
                    yield command, {each for each in words[place:] if re.fullmatch("--[a-z-]+", each)}


@pytest.mark.parametrize("path", PROSE, ids=lambda path: path.name)
def test_every_command_and_option_that_is_written_out_exists(path: Path) -> None:
    known = commands()
    for command, options in written_out(path.read_text()):
        assert command in known
        assert options <= known[command]


def test_every_command_is_in_the_readme() -> None:
    readme = (ROOT / "README.md").read_text()
    assert not [name for name in commands() if f"{APP_NAME} {name}" not in readme]


def test_the_encoding_reference_says_what_the_server_takes() -> None:
    reference = ENCODING.read_text()
    for preset, bit_rate in PRESET_BIT_RATES.items():
        assert f"| `{preset}` | {bit_rate} | {PRESET_SAMPLE_RATES[preset]} |" in reference
    assert f"bit/s, {BIT_RATE_MIN} to {BIT_RATE_MAX}" in reference
    assert f"Hz: {', '.join(map(str, SAMPLE_RATES))} |" in reference
    for containers in CONTAINERS.values():
        assert all(f"`{container}`" in reference for container in containers)


def test_the_registrys_entry_keeps_to_the_registrys_rules() -> None:
    """By the schema of 2025-12-11 and the registry's requirements; `make test-clients` has it checked by the schema."""
    entry = read("server.json")
    (package,) = entry["packages"]
    assert re.fullmatch(r"[a-zA-Z0-9.-]+/[a-zA-Z0-9._-]+", entry["name"])
    assert len(entry["description"]) <= 100
    assert len(entry["title"]) <= 100
    assert (package["registryType"], package["runtimeHint"], package["transport"]) == ("pypi", "uvx", {"type": "stdio"})
    assert package["packageArguments"] == [{"type": "positional", "value": "serve"}]
    secrets = {each["name"] for each in package["environmentVariables"] if each.get("isSecret")}
    assert secrets == {"STREAM_PUBLIC_KEY", "STREAM_SECRET_KEY"}
    # The registry knows by this that the package belongs to the entry.
    assert f"mcp-name: {entry['name']} " in (ROOT / "README.md").read_text()
