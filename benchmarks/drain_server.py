"""A server that takes uploads and keeps nothing: what is left is the client's own speed.

    python benchmarks/drain_server.py [--latency SECONDS] [--rate BYTES_A_SECOND_AND_CONNECTION]

Prints its port, and serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import re
import socket
import sys
import uuid
from functools import partial

# Small, where the rate is limited: what waits in the kernel would otherwise count as sent.
RECEIVE_BUFFER = 128 * 1024


def answer() -> bytes:
    """Give an answer that serves every call: a new audio object, with a new id."""
    data = {"id": str(uuid.uuid4()), "title": "t", "status": "transcoding"}
    body = json.dumps({"status": "success", "message": "Done.", "data": data}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Drain(asyncio.BufferedProtocol):
    """One connection: counts a request's bytes, and answers when they are there."""

    def __init__(self, latency: float, rate: float | None) -> None:
        self._latency, self._rate = latency, rate
        self._buffer = bytearray(1024 * 1024 if rate is None else 64 * 1024)
        self._head = b""
        self._left = 0
        self._due = 0.0
        self._loop = asyncio.get_running_loop()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def get_buffer(self, sizehint: int) -> bytearray:  # noqa: ARG002 - the protocol's
        return self._buffer

    def buffer_updated(self, nbytes: int) -> None:
        if self._rate is not None:
            self._slow_down(nbytes)
        data = memoryview(self._buffer)[:nbytes]
        while data:
            if not self._left:
                data = self._read_head(bytes(data))
                continue
            taken = min(self._left, len(data))
            self._left -= taken
            data = data[taken:]
            if not self._left:
                self._answer()

    def _read_head(self, data: bytes) -> memoryview:
        head, end, rest = (self._head + data).partition(b"\r\n\r\n")
        if not end:
            self._head = head
            return memoryview(b"")
        self._head = b""
        if b"100-continue" in head.lower():
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        length = re.search(rb"(?i)content-length: *(\d+)", head)
        self._left = int(length[1]) if length else 0
        if not self._left:
            self._answer()
        return memoryview(rest)

    def _slow_down(self, nbytes: int) -> None:
        assert self._rate is not None
        now = self._loop.time()
        self._due = max(self._due, now) + nbytes / self._rate
        self._transport.pause_reading()
        self._loop.call_at(self._due, self._go_on)

    def _go_on(self) -> None:
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def _answer(self) -> None:
        self._loop.call_later(self._latency, self._transport.write, answer())


async def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=None)
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    if arguments.rate is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(partial(Drain, arguments.latency, arguments.rate), sock=listener)
    print(listener.getsockname()[1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


if __name__ == "__main__":
    asyncio.run(main())
