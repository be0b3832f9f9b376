"""A host's conversation: a page in Chromium that shows the app of a server, and relays what the app asks of it."""

from __future__ import annotations

import json
import os
import socket
import sys
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import anyio
import uvicorn
from mcp import Client, MCPError, StdioServerParameters
from mcp.client.extension import advertise
from mcp.server.apps import APP_MIME_TYPE, EXTENSION_ID
from mcp.types import TextResourceContents
from starlette.applications import Starlette
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from aioz_stream_audio.apps import PLAYER_URI
from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from playwright.async_api import Browser, BrowserContext, Frame, Page
    from starlette.requests import Request

ALL: dict[str, dict[str, object]] = {"openLinks": {}, "serverTools": {}, "serverResources": {}}
# Sound of another origin is silence to Web Audio, unless it was fetched for it. Runs in every frame before its scripts.
HEARD = """new MutationObserver((_, observer) => {
  const audio = document.querySelector("audio");
  if (audio) { audio.crossOrigin = "anonymous"; observer.disconnect(); }
}).observe(document, { childList: true, subtree: true });"""


@dataclass(frozen=True)
class App:
    """What the server gives for the player: its page, and what it asks hosts for."""

    html: str
    ui: dict[str, Any]

    @property
    def policy(self) -> str:
        """The policy that a host applies, made as the specification has it (2026-01-26, CSP Construction)."""
        csp = self.ui["csp"]
        resources = " ".join(csp.get("resourceDomains", []))
        connect = " ".join(csp.get("connectDomains", []))
        return (
            f"default-src 'none'; script-src 'self' 'unsafe-inline' {resources}; "
            f"style-src 'self' 'unsafe-inline' {resources}; connect-src 'self' {connect}; "
            f"img-src 'self' data: {resources}; font-src 'self' {resources}; media-src 'self' data: {resources}; "
            "frame-src 'none'; object-src 'none'; base-uri 'self'"
        )


async def read_app(client: Client) -> App:
    (contents,) = (await client.read_resource(PLAYER_URI)).contents
    assert isinstance(contents, TextResourceContents)
    assert contents.meta is not None
    return App(contents.text, contents.meta["ui"])


class Conversation:
    """A host with one server. ``client`` is the host's connection to it; ``page`` shows the app in a frame."""

    def __init__(self, client: Client, app: App, browser: Browser, port: int, folder: Path) -> None:
        self.client = client
        self.app = app
        self.folder = folder
        self._browser = browser
        self._port = port
        self._contexts: list[BrowserContext] = []
        self.page: Page
        self.frame: Frame
        self.problems: list[str] = []

    async def call(self, tool: str, **arguments: object) -> dict[str, Any]:
        """Call a tool as the model does."""
        result = await self.client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        structured: dict[str, Any] = result.structured_content
        return structured

    async def show(
        self,
        tool: str,
        *,
        theme: str = "light",
        width: int = 672,
        capabilities: dict[str, Any] | None = None,
        variables: dict[str, str] | None = None,
        script: str = "",
        **arguments: object,
    ) -> Frame:
        """Open the host's page, have it call ``tool``, and give the frame of the app that shows what comes of it."""
        context = await self._browser.new_context(
            viewport={"width": width, "height": 480}, device_scale_factor=1.5, reduced_motion="reduce"
        )
        self._contexts.append(context)
        await context.grant_permissions(["clipboard-read"], origin=f"http://127.0.0.1:{self._port}")
        self.page = await context.new_page()
        self.page.on("pageerror", lambda error: self.problems.append(str(error)))
        self.page.on("dialog", lambda dialog: self.problems.append(f"a dialog: {dialog.message}"))
        await self.page.add_init_script(HEARD + script)
        await self.page.goto(f"http://127.0.0.1:{self._port}/")
        opening = {
            "url": f"http://localhost:{self._port}/view",
            "theme": theme,
            "capabilities": ALL if capabilities is None else capabilities,
            "variables": variables or {},
            "tool": tool,
            "args": arguments,
        }
        await self.page.evaluate("(opening) => host.open(opening)", opening)
        await self.page.wait_for_function("() => host.initialized")
        frame = self.page.frame(url="**/view")
        assert frame is not None
        self.frame = frame
        return frame

    async def close(self) -> None:
        """Close the host's pages."""
        for context in self._contexts:
            await context.close()

    async def says(self, words: str) -> None:
        """Wait until the app's status is ``words``."""
        await self.frame.wait_for_function(
            "(words) => document.getElementById('status').textContent.includes(words)", arg=words
        )

    async def turn(self, theme: str) -> None:
        """Turn light or dark, as a host's user may at any time."""
        await self.page.evaluate("(theme) => host.turn(theme)", theme)
        await self.frame.wait_for_function("(theme) => document.documentElement.style.colorScheme === theme", arg=theme)

    async def picture(self, folder: str | None, name: str) -> None:
        """Put a picture of the app into ``folder``, if there is one."""
        if folder is not None:
            box = await self.page.locator("#view").bounding_box()
            assert box is not None
            await self.page.screenshot(
                path=Path(folder) / name,
                clip={"x": 0, "y": 0, "width": box["width"] + 32, "height": box["height"] + 32},
                animations="disabled",
            )

    async def asked(self, method: str) -> list[dict[str, Any]]:
        """Give the parameters of what the app has asked the host for."""
        asked: list[dict[str, Any]] = await self.page.evaluate(
            "(method) => host.asked.filter((request) => request.method === method).map(({ params }) => params)", method
        )
        return asked


def _relay(client: Client, app: App) -> Starlette:
    async def page(_: Request) -> Response:
        return HTMLResponse(Path(__file__).with_name("host.html").read_text("utf-8"))

    async def view(_: Request) -> Response:
        return HTMLResponse(app.html, headers={"Content-Security-Policy": app.policy})

    async def relay(request: Request) -> Response:
        message = await request.json()
        params = message["params"]
        try:
            result = (
                await client.call_tool(params["name"], params["arguments"])
                if message["method"] == "tools/call"
                else await client.read_resource(params["uri"])
            )
        except MCPError as error:
            return JSONResponse({"error": {"code": error.error.code, "message": error.error.message}})
        return JSONResponse({"result": result.model_dump(mode="json", by_alias=True, exclude_none=True)})

    return Starlette(routes=[Route("/", page), Route("/view", view), Route("/relay", relay, methods=["POST"])])


@asynccontextmanager
async def _serving(app: Starlette) -> AsyncIterator[int]:
    with closing(socket.create_server(("127.0.0.1", 0))) as listener:
        server = uvicorn.Server(uvicorn.Config(app, lifespan="off", log_config=None, log_level="warning", ws="none"))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(server.serve, [listener])
            try:
                yield listener.getsockname()[1]
            finally:
                server.should_exit = True


@asynccontextmanager
async def conversation(browser: Browser, api_url: str, state: Path, **variables: str) -> AsyncIterator[Conversation]:
    """Start the server as a host does, as a process spoken to over stdio, for the API at ``api_url``."""
    environment = {name: value for name, value in os.environ.items() if "STREAM_" not in name} | {
        "STREAM_PUBLIC_KEY": PUBLIC_KEY,
        "STREAM_SECRET_KEY": SECRET_KEY,
        "AIOZ_STREAM_API_URL": api_url,
        "AIOZ_STREAM_STATE_DIR": str(state),
    }
    command = StdioServerParameters(
        command=sys.executable, args=["-m", "aioz_stream_audio", "serve"], env=environment | variables
    )
    async with Client(command, extensions=[advertise(EXTENSION_ID, {"mimeTypes": [APP_MIME_TYPE]})]) as client:
        app = await read_app(client)
        async with _serving(_relay(client, app)) as port:
            begun = Conversation(client, app, browser, port, state)
            try:
                yield begun
            finally:
                await begun.close()


def detail(**data: object) -> bytes:
    """What AIOZ Stream answers for an audio object."""
    return json.dumps({"status": "success", "data": {"id": "an-id", "title": "t", **data}}).encode()
