"""The sandbox as one object: an ASGI application, and what it remembers."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Self

import anyio
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.routing import Route

from .account import Account
from .calls import Calls
from .completion import Completion
from .delivery import Delivery
from .faults import Faults
from .gate import Gate, refusal
from .line import Line
from .refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path
    from types import TracebackType

    from starlette.requests import Request
    from starlette.responses import Response

    from .media import Media

# The media collection's path at the seed's address, and at the one of AIOZ's own SDKs.
COLLECTIONS = ("/api/videos", "/api/media")


class Sandbox:
    """AIOZ Stream in one directory. Transcoding needs it to run: ``async with Sandbox(...) as sandbox``.

    Args:
        directory: where everything is kept; it must exist, and is its caller's to empty.
        transcode: whether sources are looked at and transcoded. If not, ``complete`` takes any bytes, every quality
            is done at once, and the links lead to nothing.
        base_url: the origin that links start with; None for the one that a request was sent to.
        line: how slow it is.

    Attributes:
        app: the ASGI application; it needs no lifespan.
        media: the media objects by id.
        account: what was asked.
        faults: what goes wrong next.
    """

    def __init__(
        self, directory: Path, *, transcode: bool = True, base_url: str | None = None, line: Line | None = None
    ) -> None:
        self.media: dict[str, Media] = {}
        self.account = Account()
        self.faults = Faults()
        self._line = line or Line()
        self._completion = Completion(transcode=transcode)
        self._calls = Calls(directory, self.media, self._completion, base_url=base_url)
        self._running = False
        self._stack = AsyncExitStack()
        self.app = Starlette(
            routes=self._routes(), exception_handlers={HTTPException: _http_error, RefusalError: _refused}
        )

    def received(self, media_id: str) -> Path:
        """Give the file of the bytes that arrived, joined; it is there once ``complete`` took the parts."""
        return self.media[media_id].source

    @asynccontextmanager
    async def running(self) -> AsyncIterator[Self]:
        """Own the transcoding for as long as the block lasts, and stop what is left of it then.

        Inside another such block it does nothing, for that one owns it already.
        """
        if self._running:
            yield self
            return
        try:
            async with anyio.create_task_group() as tasks:
                self._running = True
                self._completion.run_in(tasks)
                try:
                    yield self
                finally:
                    self._running = False
                    self._completion.run_in(None)
                    tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            # Transcoding keeps its errors to itself, so this is the block's own.
            raise group.exceptions[0] from None

    async def __aenter__(self) -> Self:
        return await self._stack.enter_async_context(self.running())

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._stack.__aexit__(kind, error, trace)

    def _gate(self, call: str) -> Gate:
        return Gate(call, getattr(self._calls, call), account=self.account, faults=self.faults, line=self._line)

    def _routes(self) -> list[Route]:
        delivery = Delivery(self.media)
        routes = [
            Route("/vod/{id}/{path:path}", delivery.stream, methods=["GET"]),
            Route("/player/{id}", delivery.player, methods=["GET"]),
        ]
        for media in COLLECTIONS:
            routes += [
                Route(f"{media}/create", self._gate("create"), methods=["POST"]),
                Route(f"{media}/cost", self._gate("cost"), methods=["GET"]),
                Route(f"{media}/{{id}}/part", self._gate("part"), methods=["POST"]),
                Route(f"{media}/{{id}}/complete", self._gate("complete"), methods=["GET"]),
                Route(f"{media}/{{id}}", self._gate("detail"), methods=["GET"]),
                Route(f"{media}/{{id}}", self._gate("delete"), methods=["DELETE"]),
                Route(media, self._gate("list"), methods=["POST"]),
            ]
        return routes


async def _http_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)  # noqa: S101 - for the type checker: it is registered for nothing else
    return refusal(error.detail, error.status_code)


async def _refused(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RefusalError)  # noqa: S101 - likewise
    return refusal(str(error), error.status)
