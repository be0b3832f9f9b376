"""The least server that the SDK makes, over HTTP: what it does not conform to is not this project's to mend."""

import sys

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")


@server.tool()
def hello() -> str:
    """Say hello."""
    return "hello"


server.run("streamable-http", port=int(sys.argv[1]))
