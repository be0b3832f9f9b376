"""A server that takes uploads and keeps nothing: what is left is the client's own speed.

    python benchmarks/drain_server.py [--latency SECONDS] [--rate BYTES_A_SECOND_AND_CONNECTION]

Prints its port, and serves until its standard input closes.
"""

from __future__ import annotations

import argparse
import json
import re
import socket
import sys
import threading
import time
import uuid

# Small, where the rate is limited: what waits in the kernel would otherwise count as sent.
RECEIVE_BUFFER = 128 * 1024
# Linux can throw received bytes away without copying them here, which costs the client's machine the least.
DISCARD = socket.MSG_TRUNC if sys.platform == "linux" else 0


def answer() -> bytes:
    """Give an answer that serves every call: a new audio object, with a new id."""
    data = {"id": str(uuid.uuid4()), "title": "t", "status": "transcoding"}
    body = json.dumps({"status": "success", "message": "Done.", "data": data}).encode()
    return b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body)


class Connection:
    """One connection, in a thread of its own: counts a request's bytes, and answers when they are there."""

    def __init__(self, connected: socket.socket, latency: float, rate: float | None) -> None:
        self._socket = connected
        self._latency, self._rate = latency, rate
        self._buffer = bytearray(1024 * 1024 if rate is None else 64 * 1024)
        self._due = 0.0

    def serve(self) -> None:
        """Answer requests until the client closes."""
        with self._socket:
            while head := self._read_head():
                head, _, rest = head.partition(b"\r\n\r\n")
                if b"100-continue" in head.lower():
                    self._socket.sendall(b"HTTP/1.1 100 Continue\r\n\r\n")
                length = re.search(rb"(?i)content-length: *(\d+)", head)
                self._drain((int(length[1]) if length else 0) - len(rest))
                time.sleep(self._latency)
                self._socket.sendall(answer())

    def _read_head(self) -> bytes:
        """Read up to the empty line, and what came with it; nothing once the client closed."""
        head = b""
        while b"\r\n\r\n" not in head:
            data = self._socket.recv(4096)
            if not data:
                return b""
            head += data
        return head

    def _drain(self, left: int) -> None:
        while left > 0:
            taken = self._socket.recv_into(self._buffer, min(left, len(self._buffer)), DISCARD)
            if not taken:
                return
            left -= taken
            if self._rate is not None:
                now = time.monotonic()
                self._due = max(self._due, now) + taken / self._rate
                time.sleep(self._due - now)


def main() -> None:
    """Serve until standard input closes."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--latency", type=float, default=0.0)
    parser.add_argument("--rate", type=float, default=None)
    arguments = parser.parse_args()
    listener = socket.create_server(("127.0.0.1", 0))
    if arguments.rate is not None:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, RECEIVE_BUFFER)

    def accept() -> None:
        while True:
            connection = Connection(listener.accept()[0], arguments.latency, arguments.rate)
            threading.Thread(target=connection.serve, daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    print(listener.getsockname()[1], flush=True)
    sys.stdin.read()


if __name__ == "__main__":
    main()
