"""A media object: what was asked of it, its parts and how far it is."""

from __future__ import annotations

import secrets
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from .refusal import RefusalError

if TYPE_CHECKING:
    from pathlib import Path

    from .content_range import ContentRange
    from .creation import Creation
    from .encoding import Encoding

OPEN = frozenset({"new", "uploading"})


@dataclass(frozen=True)
class Part:
    """A part that was acknowledged: its bytes are at ``path``, ``md5`` in lower-case hex."""

    index: int
    md5: str
    content_range: ContentRange
    path: Path


@dataclass
class Quality:
    """One stream of a media object: ``new``, ``transcoding`` or ``done``; its peak in bit/s once it is done."""

    encoding: Encoding
    status: str = "new"
    peak_bit_rate: int = 0


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds")


@dataclass
class Media:
    """A media object. Times are ISO 8601 in UTC, ``duration`` is in seconds, ``size`` in bytes.

    Attributes:
        create_body: the JSON that ``create`` was sent, as it came.
        creation: what it means.
        folder: where everything of it is kept.
        token: what opens the links of a private one.
        status: as the API shows it; tests may set it.
    """

    create_body: dict[str, object]
    creation: Creation
    folder: Path
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    status: str = "new"
    created_at: str = field(default_factory=_now)
    updated_at: str = field(default_factory=_now)
    parts: list[Part] = field(default_factory=list)
    size: int = 0
    duration: float = 0.0
    qualities: list[Quality] = field(init=False)

    def __post_init__(self) -> None:
        self.folder /= self.id
        self.qualities = [Quality(encoding) for encoding in self.creation.encodings()]

    @property
    def source(self) -> Path:
        """Give where the parts are joined."""
        return self.folder / "source"

    @property
    def streams(self) -> Path:
        """Give where the streams are."""
        return self.folder / "streams"

    @property
    def playable(self) -> bool:
        """Say whether there is something to link to."""
        return self.status not in {"fail", "deleted"} and any(quality.status == "done" for quality in self.qualities)

    def done(self, kind: str) -> list[tuple[int, Quality]]:
        """Give the qualities of type ``kind`` that are done, each with its number."""
        return [(n, q) for n, q in enumerate(self.qualities) if q.status == "done" and q.encoding.type == kind]

    def turn(self, status: str) -> None:
        """Take on a new status."""
        self.status = status
        self.updated_at = _now()

    def check_open(self) -> None:
        """Let a part in.

        Raises:
            RefusalError: no part is taken any more.
        """
        if self.status == "deleted":
            raise RefusalError("Media is deleted.")
        if self.status not in OPEN:
            raise RefusalError("Invalid media status.")

    def accept(self, part: Part) -> None:
        """Keep a part. Other bytes under an index already sent are a second part, as AIOZ Stream has it.

        Raises:
            RefusalError: it is there already, or belongs to a file of another size.
        """
        self.check_open()
        if any((part.index, part.md5) == (other.index, other.md5) for other in self.parts):
            raise RefusalError("Part is already uploaded.")
        if any(part.content_range.total != other.content_range.total for other in self.parts):
            raise RefusalError("Invalid content range.")
        self.parts.append(part)
        self.turn("uploading")

    def whole(self) -> list[Part] | None:
        """Give the parts in order if they are the file, each byte once and one part an index; None otherwise."""
        parts = sorted(self.parts, key=lambda part: part.index)
        position = 0
        for part in parts:
            if part.content_range.start != position:
                return None
            position += part.content_range.size
        distinct = len({part.index for part in parts}) == len(parts)
        return parts if parts and distinct and position == parts[0].content_range.total else None
