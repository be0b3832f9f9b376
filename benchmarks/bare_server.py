"""The least MCP server that there can be, to compare the start of this project's with."""

from mcp.server.mcpserver import MCPServer

server = MCPServer("bare")


@server.tool()
def hello() -> str:
    """Say hello."""
    return "hello"


server.run("stdio")
