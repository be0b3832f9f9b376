"""The body of ``create``, judged as strictly as the real service does.

The package's own models forgive what a person types, such as ``"320k"``; on the wire nothing is forgiven.
"""

from __future__ import annotations

import json
from typing import Annotated

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError, model_validator

from aioz_stream_audio.models import (
    BIT_RATE_MAX,
    BIT_RATE_MIN,
    CONTAINERS,
    DESCRIPTION_MAX_LENGTH,
    FIELD_MAX_LENGTH,
    METADATA_MAX,
    PRESET_BIT_RATES,
    PRESET_SAMPLE_RATES,
    SAMPLE_RATES,
    TAGS_MAX,
    TITLE_MAX_BYTES,
    Channels,
    Container,
    Preset,
    StreamType,
)

from .encoding import Encoding
from .refusal import RefusalError


def _title(value: str) -> str:
    if not 1 <= len(value.encode()) <= TITLE_MAX_BYTES:
        raise ValueError(f"must be 1 to {TITLE_MAX_BYTES} bytes")
    return value


def _sample_rate(value: int) -> int:
    if value not in SAMPLE_RATES:
        raise ValueError(f"must be one of {', '.join(map(str, SAMPLE_RATES))}")
    return value


def _audio(value: object) -> object:
    if value != "audio":
        raise ValueError('must be "audio": the sandbox takes nothing else')
    return value


def _split(tags: list[str]) -> list[str]:
    return [tag.strip() for tag in ",".join(tags).lower().split(",") if tag.strip()]


class _Given(BaseModel):
    # A null is refused wherever it stands: AIOZ Stream wants a field left out instead.
    model_config = ConfigDict(frozen=True, strict=True, extra="ignore", hide_input_in_errors=True)


class GivenAudioConfig(_Given):
    """How to encode; a zero or an empty string is what was not given."""

    codec: Annotated[str, Field(pattern="^aac$")] = "aac"
    bitrate: Annotated[int, Field(ge=BIT_RATE_MIN, le=BIT_RATE_MAX)] = 0
    channels: Channels | Annotated[str, Field(max_length=0)] = ""
    sample_rate: Annotated[int, AfterValidator(_sample_rate)] = 0
    language: Annotated[str, Field(pattern=r"^[A-Za-z]{2,8}(-[A-Za-z0-9]{1,8})*$", max_length=35)] = ""
    index: Annotated[int, Field(ge=0)] = 0


class GivenQuality(_Given):
    """One stream to make."""

    resolution: Preset
    type: StreamType = "hls"
    container_type: Container = "mpegts"
    audio_config: GivenAudioConfig = GivenAudioConfig()

    @model_validator(mode="after")
    def _container_fits(self) -> GivenQuality:
        if "container_type" in self.model_fields_set and self.container_type not in CONTAINERS[self.type]:
            raise ValueError(f"container_type of {self.type} must be {' or '.join(CONTAINERS[self.type])}")
        return self

    def encoding(self) -> Encoding:
        """Give how to encode it, every default filled in but the channels'."""
        config = self.audio_config
        given = "container_type" in self.model_fields_set
        return Encoding(
            preset=self.resolution,
            type=self.type,
            container=self.container_type if given else CONTAINERS[self.type][0],
            bit_rate=config.bitrate or PRESET_BIT_RATES[self.resolution],
            sample_rate=config.sample_rate or PRESET_SAMPLE_RATES[self.resolution],
            channels=int(config.channels) if config.channels else None,
            language=config.language,
            track=config.index,
        )


class GivenMetadata(_Given):
    """A pair to store."""

    key: Annotated[str, Field(min_length=1, max_length=FIELD_MAX_LENGTH)]
    value: Annotated[str, Field(max_length=FIELD_MAX_LENGTH)]


class Creation(_Given):
    """A new media object, as it was asked for."""

    title: Annotated[str, AfterValidator(_title)]
    type: Annotated[str, BeforeValidator(_audio)] = Field(default="", validate_default=True)
    description: Annotated[str, Field(max_length=DESCRIPTION_MAX_LENGTH)] = ""
    is_public: bool = True
    tags: Annotated[
        list[Annotated[str, Field(max_length=FIELD_MAX_LENGTH)]],
        AfterValidator(_split),
        Field(max_length=TAGS_MAX),
    ] = []
    metadata: Annotated[list[GivenMetadata], Field(max_length=METADATA_MAX)] = []
    qualities: list[GivenQuality] = []

    def encodings(self) -> list[Encoding]:
        """Give the streams to make; where none was asked for, one for everybody."""
        return [quality.encoding() for quality in self.qualities or [GivenQuality(resolution="standard")]]


def read_creation(body: bytes) -> tuple[dict[str, object], Creation]:
    """Read the body of ``create``: as it came, and as it is meant.

    Raises:
        RefusalError: it is not JSON, or a field cannot be what it is; the message names the first such field.
    """
    try:
        raw = json.loads(body)
    except ValueError:
        raise RefusalError("Invalid request body.") from None
    if not isinstance(raw, dict):
        raise RefusalError("Invalid request body.")
    try:
        return raw, Creation.model_validate(raw)
    except ValidationError as error:
        first = error.errors()[0]
        place = ".".join(map(str, first["loc"]))
        raise RefusalError(f"Invalid {place}: {first['msg'].removeprefix('Value error, ')}.") from None
