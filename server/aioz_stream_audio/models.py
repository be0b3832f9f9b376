"""What goes over the wire to AIOZ Stream, and what comes back.

Requests are strict and say in plain words what is wrong; answers are read leniently, because two addresses and several
versions of the API answer.
"""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from .foreign_text import harmless, is_link

TITLE_MAX_BYTES = 255
DESCRIPTION_MAX_LENGTH = 1_000
TAGS_MAX = 50
METADATA_MAX = 50
FIELD_MAX_LENGTH = 255
FILE_MAX_BYTES = 2 * 1000**4

BIT_RATE_MIN = 8_000
# The most that AAC can carry: 6,144 bits a channel in each frame of 1,024 samples (ISO/IEC 14496-3), stereo at 96 kHz.
BIT_RATE_MAX = 1_152_000

Preset = Literal["standard", "good", "highest", "lossless"]
StreamType = Literal["hls", "dash"]
Container = Literal["mpegts", "mp4", "fmp4"]
Channels = Literal["2", "1"]

PRESET_BIT_RATES: dict[Preset, int] = {"standard": 128_000, "good": 192_000, "highest": 320_000, "lossless": 320_000}
PRESET_SAMPLE_RATES: dict[Preset, int] = {"standard": 44_100, "good": 44_100, "highest": 48_000, "lossless": 48_000}
SAMPLE_RATES = (8_000, 11_025, 16_000, 22_050, 32_000, 44_100, 48_000, 88_200, 96_000)
CONTAINERS: dict[StreamType, tuple[Container, ...]] = {"hls": ("mpegts", "mp4"), "dash": ("fmp4",)}

_QUANTITY = re.compile(r"(\d+(?:\.\d+)?)\s*(k?)(?:bps|bit/s|b/s|hz)?", re.IGNORECASE)


def _unquoted(value: object) -> object:
    """Take ``"hls "`` and ``"HLS"`` for ``"hls"``: what a person types, or a model quotes."""
    return value.strip().lower() if isinstance(value, str) else value


def _quantity(value: object) -> object:
    """Take ``"320k"``, ``"320 kbit/s"`` and ``"44.1kHz"`` for the number of bit/s or Hz they mean."""
    if not isinstance(value, str):
        return value
    match = _QUANTITY.fullmatch(value.strip())
    number = float(match[1]) * (1000 if match[2] else 1) if match else 0.5
    if not number.is_integer():
        raise ValueError("must be a number, such as 48000 or 320k")
    return int(number)


def _title(value: str) -> str:
    value = value.strip()
    size = len(value.encode())
    if not 1 <= size <= TITLE_MAX_BYTES:
        raise ValueError(f"must be 1 to {TITLE_MAX_BYTES} bytes of UTF-8, and is {size}")
    return value


def _split_tags(value: object) -> object:
    """Split tags at commas, as AIOZ Stream does when it stores them, so that what is sent is what will be there."""
    if isinstance(value, str):
        value = [value]
    if not isinstance(value, list):
        return value
    tags: list[object] = []
    for entry in value:
        tags.extend([tag.strip() for tag in entry.split(",") if tag.strip()] if isinstance(entry, str) else [entry])
    return tags


def _channels(value: object) -> object:
    return str(value) if isinstance(value, int) and not isinstance(value, bool) else _unquoted(value)


def _sample_rate(value: int) -> int:
    if value not in SAMPLE_RATES:
        nearest = min(SAMPLE_RATES, key=lambda rate: abs(rate - value))
        raise ValueError(f"must be one of {', '.join(map(str, SAMPLE_RATES))} Hz; the nearest to {value} is {nearest}")
    return value


# A UUID, in every answer seen; whatever else it is one day, it cannot lead out of its place in a path.
AUDIO_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")

Title = Annotated[str, Field(min_length=1, max_length=TITLE_MAX_BYTES), AfterValidator(_title)]
Description = Annotated[str, Field(max_length=DESCRIPTION_MAX_LENGTH)]
Tag = Annotated[str, Field(min_length=1, max_length=FIELD_MAX_LENGTH)]
Tags = Annotated[list[Tag], Field(max_length=TAGS_MAX), BeforeValidator(_split_tags)]
BitRate = Annotated[int, Field(ge=BIT_RATE_MIN, le=BIT_RATE_MAX), BeforeValidator(_quantity)]
SampleRate = Annotated[
    int, BeforeValidator(_quantity), AfterValidator(_sample_rate), Field(json_schema_extra={"enum": list(SAMPLE_RATES)})
]
# BCP 47 (RFC 5646, section 2.1), its shape only: the registry of languages is not ours to keep. Languages of more than
# three letters are in the grammar, but none was ever registered, and "english" is a name.
Language = Annotated[str, Field(pattern=r"^[A-Za-z]{2,3}(-[A-Za-z0-9]{1,8})*$", max_length=35)]


def _plain(schema: dict[str, Any]) -> None:
    """Turn the JSON schema of ``int | None = None`` into a plain ``int``: not every host understands ``anyOf``."""
    schema.pop("default", None)
    schema.update(next(kind for kind in schema.pop("anyOf") if kind != {"type": "null"}))


def optional(**schema: Any) -> Any:  # noqa: ANN401 - what Field itself takes and gives
    """Describe a value that may be left out, or be null, without saying so in its JSON schema."""
    return Field(json_schema_extra=_plain, **schema)


class _Request(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)


class Metadata(_Request):
    """A pair that AIOZ Stream stores with the audio."""

    key: Annotated[str, Field(min_length=1, max_length=FIELD_MAX_LENGTH, description="Its name.")]
    value: Annotated[str, Field(max_length=FIELD_MAX_LENGTH, description="Its text.")]


class AudioConfig(_Request):
    """How to encode one quality; bit rate in bit/s, sample rate in Hz."""

    codec: Annotated[Literal["aac"], BeforeValidator(_unquoted), Field(description="The only one there is.")] = "aac"
    bitrate: Annotated[BitRate | None, optional(description="bit/s, such as 320000; left out, the preset's.")] = None
    channels: Annotated[Channels, BeforeValidator(_channels), Field(description="1 for a mono source.")] = "2"
    sample_rate: Annotated[SampleRate | None, optional(description="Hz; left out, the preset's.")] = None
    language: Annotated[Language | None, optional(description="BCP 47 code, such as en or pt-BR.")] = None
    index: Annotated[int, Field(ge=0, description="Which audio track of the file, from 0.")] = 0


class Quality(_Request):
    """One stream to make of the audio."""

    resolution: Annotated[
        Preset,
        BeforeValidator(_unquoted),
        Field(description="Preset: standard 128 kbit/s, good 192, highest and lossless 320."),
    ]
    type: Annotated[StreamType, BeforeValidator(_unquoted), Field(description="Streaming format.")] = "hls"
    container_type: Annotated[
        Container | None,
        BeforeValidator(_unquoted),
        optional(description="For hls mpegts (default) or mp4, for dash fmp4."),
    ] = None
    audio_config: Annotated[AudioConfig | None, optional(description="Left out, the preset's.")] = None

    @model_validator(mode="after")
    def _container_fits_type(self) -> Quality:
        allowed = CONTAINERS[self.type]
        if self.container_type is not None and self.container_type not in allowed:
            raise ValueError(f"container_type of {self.type} must be {' or '.join(allowed)}, not {self.container_type}")
        return self

    def body(self) -> dict[str, Any]:
        """Give the quality as it is sent, every default filled in."""
        config = self.audio_config or AudioConfig()
        audio_config = {
            "codec": config.codec,
            "bitrate": config.bitrate or PRESET_BIT_RATES[self.resolution],
            "channels": config.channels,
            "sample_rate": config.sample_rate or PRESET_SAMPLE_RATES[self.resolution],
            **({"language": config.language} if config.language else {}),
            "index": config.index,
        }
        return {
            "resolution": self.resolution,
            "type": self.type,
            "container_type": self.container_type or CONTAINERS[self.type][0],
            "audio_config": audio_config,
        }


class CreateAudio(_Request):
    """A new audio object. A title alone is the default upload; anything more makes it a custom one."""

    title: Title
    description: Description | None = None
    is_public: bool | None = None
    tags: Tags | None = None
    metadata: Annotated[list[Metadata], Field(max_length=METADATA_MAX)] | None = None
    qualities: list[Quality] | None = None

    @property
    def mode(self) -> Literal["default", "custom"]:
        """Say which of the two uploads this is."""
        return "custom" if len(self.body()) > len(("title", "type")) else "default"

    def body(self) -> dict[str, Any]:
        """Give the JSON body of ``create``; what was left out is not in it."""
        body: dict[str, Any] = {"title": self.title, "type": "audio"}
        if self.description:
            body["description"] = self.description
        if self.is_public is not None:
            body["is_public"] = self.is_public
        if self.tags:
            body["tags"] = list(self.tags)
        if self.metadata:
            body["metadata"] = [{"key": pair.key, "value": pair.value} for pair in self.metadata]
        if self.qualities:
            body["qualities"] = [quality.body() for quality in self.qualities]
        return body


def _link(value: object) -> str | None:
    """Take a plain web address for a link, and anything else, such as an empty string, for none."""
    return value if isinstance(value, str) and is_link(value) else None


def _number(value: object) -> float | None:
    if not isinstance(value, int | float) or isinstance(value, bool):
        return None
    # No quantity of an audio is negative, infinite, or too large for JSON's other readers (RFC 8259, section 6).
    return value if 0 <= value < 2**53 else None


def _whole(value: object) -> int | None:
    number = _number(value)
    return None if number is None else round(number)


def _line(value: object) -> str:
    return harmless(value) if isinstance(value, str) else ""


Link = Annotated[str | None, BeforeValidator(_link)]
_Lenient = Annotated[str, BeforeValidator(_line)]


class _Answer(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class Assets(_Answer):
    """The links of a media object; each is whole as AIOZ Stream gave it, or None where that is not fit to show."""

    hls_url: Link = None
    dash_url: Link = None
    hls_player_url: Link = None
    dash_player_url: Link = None


class QualityState(_Answer):
    """One quality of a media object; the bit rate is in bit/s."""

    name: _Lenient = ""
    type: _Lenient = ""
    status: _Lenient = ""
    audio_bitrate: Annotated[int | None, BeforeValidator(_whole)] = None


class Media(_Answer):
    """What ``create`` and ``detail`` answer with. ``duration`` is in seconds; text is harmless, and else as it came."""

    id: Annotated[str, Field(pattern=f"^{AUDIO_ID.pattern}$")]
    title: _Lenient = ""
    status: _Lenient = ""
    duration: Annotated[float | None, BeforeValidator(_number)] = None
    assets: Annotated[Assets, BeforeValidator(lambda value: value if isinstance(value, dict) else {})] = Assets()
    qualities: Annotated[
        list[QualityState],
        BeforeValidator(lambda value: [q for q in value if isinstance(q, dict)] if isinstance(value, list) else []),
    ] = []
    # The seed of this project allows the HLS link beside the assets too.
    hls: Link = None

    @property
    def hls_url(self) -> str | None:
        """Give the HLS link, wherever it stood."""
        return self.assets.hls_url or self.hls

    @property
    def done(self) -> bool:
        """Say whether the work on it is over, and went well."""
        return self.status in {"done", "ready"}

    @property
    def ready(self) -> bool:
        """Say whether a stream link is there and the work on it is over."""
        return self.done and bool(self.hls_url or self.assets.dash_url)
