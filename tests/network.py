"""What stands between a client and the API in the world, on loopback: TLS of a private authority, and a proxy."""

from __future__ import annotations

import ssl
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import anyio
import anyio.abc
import httpx2
import trustme
from anyio.streams.buffered import BufferedByteReceiveStream
from anyio.streams.tls import TLSStream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from anyio.abc import ByteReceiveStream, ByteSendStream, ByteStream, SocketStream

LOOPBACK = "127.0.0.1"
HEAD_MAX = 64 * 1024


async def _copy(source: ByteReceiveStream, target: ByteSendStream) -> None:
    try:
        async for data in source:
            await target.send(data)
    except (anyio.BrokenResourceError, anyio.ClosedResourceError):
        return


async def _join(client: ByteStream, server: ByteStream) -> None:
    """Carry bytes both ways, until the server has no more."""
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(_copy, client, server)
        await _copy(server, client)
        tasks.cancel_scope.cancel()


@asynccontextmanager
async def _serving(handle: Callable[[SocketStream], Awaitable[None]]) -> AsyncIterator[int]:
    """Hand what connects to a free port of loopback to ``handle``; yields the port."""

    async def answer(client: SocketStream) -> None:
        async with client:
            await handle(client)

    async with (
        await anyio.create_tcp_listener(local_host=LOOPBACK) as listener,
        anyio.create_task_group() as tasks,
    ):
        tasks.start_soon(listener.serve, answer)
        yield listener.extra(anyio.abc.SocketAttribute.local_port)
        tasks.cancel_scope.cancel()


class Authority:
    """A private authority, and a certificate of its own for ``names``."""

    def __init__(self, *names: str) -> None:
        self._authority = trustme.CA()
        self._context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self._authority.issue_cert(*names).configure_cert(self._context)

    def write(self, path: Path) -> Path:
        """Write the authority's certificate, for ``SSL_CERT_FILE``."""
        self._authority.cert_pem.write_to_path(path)
        return path

    @asynccontextmanager
    async def in_front_of(self, port: int) -> AsyncIterator[int]:
        """Speak TLS on a port of loopback, and hand what comes to ``port``; yields the port."""

        async def handle(client: SocketStream) -> None:
            # Whoever does not trust the certificate hangs up.
            with suppress(ssl.SSLError, anyio.BrokenResourceError, anyio.EndOfStream):
                secured = await TLSStream.wrap(client, ssl_context=self._context, standard_compatible=False)
                async with await anyio.connect_tcp(LOOPBACK, port) as server:
                    await _join(secured, server)

        async with _serving(handle) as own:
            yield own


@dataclass
class Proxy:
    """A proxy that leads everywhere to one port. What came is ``asked``, its first lines, and ``heads``."""

    port: int
    asked: list[str] = field(default_factory=list)
    heads: list[bytes] = field(default_factory=list)
    own_port: int = 0

    @property
    def url(self) -> str:
        """Its address."""
        return f"http://{LOOPBACK}:{self.own_port}"

    async def handle(self, client: SocketStream) -> None:
        buffered = BufferedByteReceiveStream(client)
        head = await buffered.receive_until(b"\r\n\r\n", HEAD_MAX)
        self.heads.append(head)
        line, _, fields = head.partition(b"\r\n")
        self.asked.append(line.decode())
        async with await anyio.connect_tcp(LOOPBACK, self.port) as server:
            if line.startswith(b"CONNECT "):
                await client.send(b"HTTP/1.1 200 Connection established\r\n\r\n")
            else:
                method, target, version = line.split(b" ")
                origin_form = b" ".join((method, httpx2.URL(target.decode()).raw_path, version))
                # One request a connection, so that each is seen.
                await server.send(b"\r\n".join((origin_form, b"Connection: close", fields, b"", buffered.buffer)))
            await _join(client, server)


@asynccontextmanager
async def proxy_to(port: int) -> AsyncIterator[Proxy]:
    """Run a proxy on loopback that leads to ``port``, whatever host it is asked for."""
    proxy = Proxy(port)
    async with _serving(proxy.handle) as proxy.own_port:
        yield proxy


@asynccontextmanager
async def answering(answer: bytes) -> AsyncIterator[int]:
    """Answer every request on loopback with the same bytes, HTTP or not, and hang up; yields the port."""

    async def handle(client: SocketStream) -> None:
        with suppress(anyio.BrokenResourceError, anyio.IncompleteRead):
            await BufferedByteReceiveStream(client).receive_until(b"\r\n\r\n", HEAD_MAX)
            await client.send(answer)

    async with _serving(handle) as own:
        yield own
