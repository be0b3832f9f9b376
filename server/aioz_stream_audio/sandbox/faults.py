"""What goes wrong next: faults that are queued, consumed in order and accounted for.

A fault is *when* (before the work, within the request's body, after the work) times *what* (an answer, a dropped
connection, a stall). After the `Retry Test API` of googleapis/storage-testbench.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Literal, get_args

import anyio

if TYPE_CHECKING:
    from collections.abc import Mapping

FaultyCall = Literal["create", "part", "complete", "detail"]
When = Literal["before", "within", "after"]


@dataclass(frozen=True)
class Answer:
    """Answer this instead; ``cut`` announces the whole body, sends half of it and drops the connection."""

    status: int = 200
    body: bytes = b""
    content_type: str = "application/json"
    headers: Mapping[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Drop:
    """Drop the connection without a word."""


@dataclass(frozen=True)
class Stall:
    """Wait for ``seconds``, and then for ``until`` where there is one, and go on as if nothing were."""

    seconds: float = 0.0
    until: anyio.Event | None = None

    async def wait(self) -> None:
        """Wait as long as the stall lasts."""
        await anyio.sleep(self.seconds)
        if self.until is not None:
            await self.until.wait()


@dataclass(frozen=True)
class Fault:
    """One thing that goes wrong.

    Attributes:
        what: what happens.
        when: ``before`` the body is read, ``within`` it (nothing of the work is done), or ``after`` the work was
            done, so that the client cannot know.
        after_bytes: with ``within``, how many bytes of the body are read first; None, or more than there are, is
            all of them.
    """

    what: Answer | Drop | Stall
    when: When = "before"
    after_bytes: int | None = None


def status(code: int, message: str = "Something went wrong.", *, retry_after: str | None = None) -> Fault:
    """Answer ``code`` with the API's own kind of body, and a ``Retry-After`` header where one is given."""
    body = json.dumps({"status": "fail", "message": message}).encode()
    return Fault(Answer(code, body, headers={} if retry_after is None else {"Retry-After": retry_after}))


def raw(code: int, content_type: str, body: bytes) -> Fault:
    """Answer anything at all, such as a proxy's HTML page."""
    return Fault(Answer(code, body, content_type))


def reset(after_bytes: int | None = None) -> Fault:
    """Drop the connection: before the body is read, or once ``after_bytes`` of it were."""
    return Fault(Drop()) if after_bytes is None else Fault(Drop(), "within", after_bytes)


def stall(seconds: float = 0.0, until: anyio.Event | None = None) -> Fault:
    """Keep the client waiting before the work is done."""
    return Fault(Stall(seconds, until))


def corrupted() -> Fault:
    """Read the whole part and call it corrupted, right hash or not."""
    return replace(status(400, "File corrupted."), when="within")


def redirect(location: str) -> Fault:
    """Send the client elsewhere (307)."""
    return Fault(Answer(307, headers={"Location": location}))


def empty() -> Fault:
    """Do the work and answer 200 with nothing in it."""
    return done_then(Fault(Answer()))


def truncated_json() -> Fault:
    """Do the work and answer JSON that breaks off."""
    return done_then(raw(200, "application/json", b'{"status": "success", "da'))


def wrong_json() -> Fault:
    """Do the work and answer JSON that is none of the API's."""
    return done_then(raw(200, "application/json", b'["unexpected"]'))


def cut() -> Fault:
    """Do the work and drop the connection in the middle of the answer."""
    return done_then(Fault(Answer(body=b'{"status": "success", "data": {}}', cut=True)))


def done_then(fault: Fault) -> Fault:
    """Do the work, and only then let the fault strike: the client cannot know what was done."""
    return replace(fault, when="after", after_bytes=None)


@dataclass(frozen=True)
class Queued:
    """A fault in the queue, or consumed: for ``call``, and with ``start`` only for the part that starts there."""

    call: FaultyCall
    fault: Fault
    start: int | None = None


@dataclass
class Faults:
    """The queue; ``pending`` has yet to strike, ``log`` was consumed, in that order."""

    pending: list[Queued] = field(default_factory=list)
    log: list[Queued] = field(default_factory=list)

    def add(self, call: FaultyCall, fault: Fault, *, times: int = 1, start: int | None = None) -> None:
        """Queue ``fault`` for the next ``times`` requests of ``call``; ``start`` picks the part at that byte.

        Raises:
            ValueError: there is no such call, or it has no body for the fault to strike within.
        """
        if call not in get_args(FaultyCall):
            raise ValueError(f"call must be one of {', '.join(get_args(FaultyCall))}, not {call!r}")
        if fault.when == "within" and call in {"complete", "detail"}:
            raise ValueError(f"{call} has no body to strike within")
        self.pending.extend([Queued(call, fault, start)] * times)

    def take(self, call: str, start: int | None = None) -> Fault | None:
        """Consume the first fault queued for this request; None where there is none."""
        for position, queued in enumerate(self.pending):
            if queued.call == call and queued.start in {None, start}:
                self.log.append(self.pending.pop(position))
                return queued.fault
        return None
