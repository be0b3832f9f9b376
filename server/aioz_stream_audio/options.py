"""From the options of the command ``upload`` to a request, for a file that is at hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from .errors import InputError
from .foreign_text import harmless
from .inputs import explain
from .models import TITLE_MAX_BYTES, CreateAudio
from .source import read_tags

if TYPE_CHECKING:
    from .source import Source

# What the options of one stream are called in the request.
_OPTION_NAMES = {
    "title": "--title",
    "description": "--description",
    "tags": "--tag",
    "metadata": "--meta",
    "resolution": "--quality",
    "type": "--format",
    "bitrate": "--bitrate",
    "sample_rate": "--sample-rate",
    "channels": "--channels",
    "language": "--language",
}
# Asked for a bit rate or a format but no quality, a person wants the best.
_PRESET = "highest"


@dataclass(frozen=True)
class UploadOptions:
    """What was typed. Nothing is checked before `request`; ``metadata`` are ``KEY=VALUE`` strings."""

    title: str | None = None
    description: str | None = None
    public: bool | None = None
    tags: tuple[str, ...] = ()
    metadata: tuple[str, ...] = ()
    quality: str | None = None
    format: str | None = None
    bitrate: str | None = None
    sample_rate: str | None = None
    channels: str | None = None
    language: str | None = None

    def check(self) -> None:
        """Check what does not depend on a file.

        Raises:
            InputError: an option has a value it cannot have; the message names the option.
        """
        self._request(title="a file's", mono=False)

    def request(self, source: Source) -> CreateAudio:
        """Make the request for ``source``; reads its tags, so call it in a worker thread.

        Raises:
            InputError: an option has a value it cannot have; the message names the option.
        """
        tags = read_tags(source)
        return self._request(title=_shortened(tags.title or source.path.stem), mono=tags.channels == 1)

    def _request(self, *, title: str, mono: bool) -> CreateAudio:
        quality = self._quality(mono=mono)
        try:
            return CreateAudio.model_validate(
                {
                    "title": title if self.title is None else self.title,
                    "description": self.description,
                    "is_public": self.public,
                    "tags": list(self.tags) or None,
                    "metadata": [_pair(entry) for entry in self.metadata] or None,
                    "qualities": [quality] if quality else None,
                }
            )
        except ValidationError as error:
            raise InputError(explain(error, names=_OPTION_NAMES)) from None

    def _quality(self, *, mono: bool) -> dict[str, Any] | None:
        """Make the one stream asked for, or none. Mono stays mono: more channels than the file has may be refused."""
        audio_config = {
            name: value
            for name, value in {
                "bitrate": self.bitrate,
                "sample_rate": self.sample_rate,
                "channels": self.channels,
                "language": self.language,
            }.items()
            if value is not None
        }
        if not (self.quality or self.format or audio_config):
            return None
        if mono:
            audio_config.setdefault("channels", "1")
        return {
            "resolution": self.quality or _PRESET,
            **({"type": self.format} if self.format else {}),
            "audio_config": audio_config,
        }


def _pair(entry: str) -> dict[str, str]:
    key, equals, value = entry.partition("=")
    if not (key.strip() and equals):
        raise InputError(f"--meta must be KEY=VALUE, not {harmless(entry)[:60]!r}; nothing was sent.")
    return {"key": key.strip(), "value": value.strip()}


def _shortened(title: str) -> str:
    """Cut a title that nobody typed to what AIOZ Stream takes, between characters."""
    return title.encode(errors="replace")[:TITLE_MAX_BYTES].decode(errors="ignore")
