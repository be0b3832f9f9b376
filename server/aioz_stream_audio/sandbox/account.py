"""What the sandbox was asked, request by request."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import Fault


@dataclass
class Entry:
    """One request, filled in as it goes on.

    Attributes:
        call: ``create``, ``part``, ``complete``, ``detail``, ``list``, ``delete`` or ``cost``.
        media_id: the one in the path, or the one that ``create`` made; empty where there is none.
        content_range: the header as it came.
        body_bytes: bytes of the request's body that were read.
        index: a part's, once its form was read whole.
        size: bytes of a part's file, once its form was read whole.
        outcome: ``done``, the words of a refusal, ``disconnected`` (the client left), or ``faulted`` (a fault struck
            before the work was done). A fault that strikes after the work leaves the work's own outcome.
        status: the HTTP status that was answered; None while there is none, and where the connection was dropped.
        fault: the one that was queued for it.
    """

    call: str
    media_id: str = ""
    content_range: str = ""
    body_bytes: int = 0
    index: int | None = None
    size: int | None = None
    outcome: str = ""
    status: int | None = None
    fault: Fault | None = None


@dataclass
class Account:
    """Every request since the sandbox was made, in the order they arrived."""

    requests: list[Entry] = field(default_factory=list)

    def opened(self, call: str, media_id: str, content_range: str) -> Entry:
        """Put down a request that has just arrived."""
        entry = Entry(call, media_id, content_range)
        self.requests.append(entry)
        return entry

    def entries(self, call: str, media_id: str | None = None) -> list[Entry]:
        """Give the requests of one call, of one media object or of all."""
        return [e for e in self.requests if e.call == call and media_id in {None, e.media_id}]

    def count(self, call: str, media_id: str | None = None) -> int:
        """Count the requests of one call, of one media object or of all."""
        return len(self.entries(call, media_id))
