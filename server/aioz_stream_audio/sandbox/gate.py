"""What stands between the network and a call: the account, the faults, the line and the keys."""

from __future__ import annotations

import math
from contextlib import suppress
from typing import TYPE_CHECKING

from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response

from .content_range import ContentRange
from .faults import Answer, Drop, Stall
from .keys import check_keys
from .refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.types import Message, Receive, Scope, Send

    from .account import Account, Entry
    from .faults import Fault, Faults
    from .line import Line

    Work = Callable[[Request, Entry], Awaitable[Response]]


class StruckError(Exception):
    """A fault struck: ``what`` is to be done instead of what would have been."""

    def __init__(self, what: Answer | Drop) -> None:
        super().__init__()
        self.what = what


async def drop(receive: Receive) -> None:
    """Drop the connection.

    ASGI has no word for it, so this reaches through uvicorn's request cycle, whose method ``receive`` is, for the
    transport. It then waits until uvicorn has noticed, or it would answer 500 for want of an answer.

    Raises:
        ConnectionResetError: there is no connection, as with an in-process transport, whose client gets this instead.
    """
    transport = getattr(getattr(receive, "__self__", None), "transport", None)
    if transport is None:
        raise ConnectionResetError("The sandbox dropped the connection.")
    transport.abort()
    while (await receive())["type"] != "http.disconnect":
        pass


async def send_cut(answer: Answer, receive: Receive, send: Send) -> None:
    """Announce the whole answer, send half of it and drop the connection."""
    start = Response(answer.body, answer.status, dict(answer.headers), answer.content_type)
    await send({"type": "http.response.start", "status": start.status_code, "headers": start.raw_headers})
    await send({"type": "http.response.body", "body": answer.body[: len(answer.body) // 2], "more_body": True})
    await drop(receive)


async def strike(fault: Fault) -> None:
    """Let a fault do what it does.

    Raises:
        StruckError: it was more than a stall.
    """
    if isinstance(fault.what, Stall):
        await fault.what.wait()
    else:
        raise StruckError(fault.what)


def counted(receive: Receive, entry: Entry) -> Receive:
    """Give ``receive`` with the bytes of the body put down in ``entry``, and struck by the entry's fault if due."""
    due = entry.fault if entry.fault is not None and entry.fault.when == "within" else None

    async def counting() -> Message:
        nonlocal due
        message = await receive()
        entry.body_bytes += len(message.get("body", b""))
        if due is not None:
            limit = math.inf if due.after_bytes is None else due.after_bytes
            if entry.body_bytes >= limit or not message.get("more_body", False):
                fault, due = due, None
                await strike(fault)
        return message

    return counting


def refusal(message: str, status: int = 400) -> JSONResponse:
    """Give the API's own kind of no."""
    return JSONResponse({"status": "fail", "message": message}, status)


class Gate:
    """One call of the API as an ASGI application."""

    def __init__(self, call: str, work: Work, *, account: Account, faults: Faults, line: Line) -> None:
        self._call = call
        self._work = work
        self._account = account
        self._faults = faults
        self._line = line

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take one request, as ASGI has it."""
        request = Request(scope, receive)
        entry = self._account.opened(
            self._call, request.path_params.get("id", ""), request.headers.get("content-range", "")
        )
        entry.fault = self._faults.take(self._call, _start(entry.content_range))
        try:
            response = await self._answer(request, entry)
        except ClientDisconnect:
            entry.outcome = "disconnected"
            return
        except StruckError as struck:
            entry.outcome = entry.outcome or "faulted"
            await self._line.delay()
            await _strike_back(struck.what, entry, request, send)
            return
        await self._line.delay()
        entry.status = response.status_code
        await response(scope, receive, send)

    async def _answer(self, request: Request, entry: Entry) -> Response:
        fault = entry.fault
        if fault is not None and fault.when == "before":
            await strike(fault)
        response = await self._done(request, entry)
        if fault is not None and fault.when == "after":
            await strike(fault)
        return response

    async def _done(self, request: Request, entry: Entry) -> Response:
        try:
            check_keys(request.headers)
            body = counted(self._line.pace(request.receive), entry)
            response = await self._work(Request(request.scope, body), entry)
        except RefusalError as error:
            entry.outcome = str(error)
            return refusal(str(error), error.status)
        entry.outcome = "done"
        return response


def _start(content_range: str) -> int | None:
    with suppress(RefusalError):
        return ContentRange.parse(content_range).start
    return None


async def _strike_back(what: Answer | Drop, entry: Entry, request: Request, send: Send) -> None:
    if isinstance(what, Drop):
        await drop(request.receive)
        return
    entry.status = what.status
    if what.cut:
        await send_cut(what, request.receive, send)
        return
    response = Response(what.body, what.status, dict(what.headers), what.content_type)
    await response(request.scope, request.receive, send)
