"""The list of tools as agents see it, kept in tools_list.json so that a change of it is seen in a diff.

`make snapshot` writes it anew.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from aioz_stream_audio.mcp_server import build_server
from aioz_stream_audio.settings import Settings

SNAPSHOT = Path(__file__).with_name("tools_list.json")


async def tools_list() -> list[dict[str, Any]]:
    """Give the answer to ``tools/list``, as JSON on the wire."""
    async with Client(build_server(Settings.from_environ({}))) as client:
        tools = (await client.list_tools()).tools
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in tools]


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(anyio.run(tools_list), indent=2) + "\n", encoding="utf-8")
