"""The sandbox on a port of this machine."""

from __future__ import annotations

import asyncio
import os
import socket
from contextlib import asynccontextmanager, closing, contextmanager
from functools import partial
from typing import TYPE_CHECKING

import anyio
import uvicorn

from .app import COLLECTIONS
from .gate import drop

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator

    from starlette.types import ASGIApp, Receive, Scope, Send

    from .app import Sandbox

HOST = "127.0.0.1"


# Seconds for what is still being answered when serving ends.
_GRACE = 1


class _Server(uvicorn.Server):
    """Uvicorn in an event loop that belongs to someone else: it says when it is ready, and leaves signals alone."""

    def __init__(self, app: ASGIApp) -> None:
        # No logging configuration: warnings go to stderr unless the program has its own.
        super().__init__(
            uvicorn.Config(
                partial(self.answer, app),
                interface="asgi3",
                http="h11",
                ws="none",
                lifespan="off",
                log_config=None,
                log_level="warning",
                access_log=False,
                timeout_graceful_shutdown=_GRACE,
            )
        )
        self.ready = anyio.Event()

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self.ready.set()

    async def answer(self, app: ASGIApp, scope: Scope, receive: Receive, send: Send) -> None:
        """Run ``app``; a request that is cancelled because serving ends loses its connection, and no more is said.

        Left to uvicorn, it would be answered 500 and its traceback logged.
        """
        try:
            await app(scope, receive, send)
        except asyncio.CancelledError:
            await drop(receive)

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        yield


def _listen(port: int) -> socket.socket:
    try:
        listener = socket.create_server((HOST, port))
    except OSError as error:
        raise OSError(
            error.errno, f"Port {port} of {HOST} cannot be used ({os.strerror(error.errno or 0)}); choose another"
        ) from None
    # Connections inherit it. asyncio sees to it only for sockets that it made itself; without it, the body of an answer
    # waits 40 ms for its head to be acknowledged.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


@asynccontextmanager
async def serve(sandbox: Sandbox, port: int = 0) -> AsyncIterator[str]:
    """Serve ``sandbox`` on loopback while the block lasts, running it where it is not yet; yields the API's URL.

    What is still being answered when the block ends gets a second.

    Args:
        sandbox: what to serve.
        port: 0 for any that is free.

    Yields:
        The media collection's URL, such as ``http://127.0.0.1:8788/api/videos``.

    Raises:
        OSError: the port cannot be used.
    """
    with closing(_listen(port)) as listener:
        server = _Server(sandbox.app)
        url = f"http://{HOST}:{listener.getsockname()[1]}{COLLECTIONS[0]}"
        async with sandbox.running():
            try:
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_serve, server, listener)
                    try:
                        await server.ready.wait()
                        yield url
                    finally:
                        server.should_exit = True
            except ExceptionGroup as group:
                raise group.exceptions[0] from None


async def _serve(server: _Server, listener: socket.socket) -> None:
    # It is stopped by its flag: cancelled, it would leave its connections open.
    with anyio.CancelScope(shield=True):
        await server.serve([listener])
