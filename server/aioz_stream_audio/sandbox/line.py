"""How slow the way to the sandbox is."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from starlette.types import Message, Receive


@dataclass(frozen=True)
class Line:
    """A simulated line; each request has one to itself.

    Attributes:
        latency: seconds before each answer.
        bytes_per_second: the pace of a request's body; None for as fast as it comes.
    """

    latency: float = 0.0
    bytes_per_second: float | None = None

    async def delay(self) -> None:
        """Wait as long as an answer takes."""
        await anyio.sleep(self.latency)

    def pace(self, receive: Receive) -> Receive:
        """Give ``receive`` at the line's pace, measured from its first byte so that waits do not add up."""
        rate = self.bytes_per_second
        if rate is None:
            return receive
        due = 0.0

        async def paced() -> Message:
            nonlocal due
            message = await receive()
            due = max(due, anyio.current_time() - 1) + len(message.get("body", b"")) / rate
            await anyio.sleep(max(0.0, due - anyio.current_time()))
            return message

        return paced
