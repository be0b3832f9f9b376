"""What is told of each step: to agents by the tools, to programs by ``--json``. The names are one contract for both."""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from .models import Media  # noqa: TC001 - pydantic reads it at run time
from .transfer import Progress

_STATUS = "As AIOZ Stream says it: transcoding, done, ready, fail and others."


class _Result(BaseModel):
    model_config = ConfigDict(frozen=True)


class CreatedAudio(_Result):
    """What create_audio gives."""

    audio_id: str
    title: str
    mode: Literal["default", "custom"]
    next_step: str


class UploadedFile(Progress):
    """What upload_audio_file gives."""

    next_step: str


class CompletedUpload(_Result):
    """What complete_upload gives."""

    audio_id: str
    status: str = Field(description=_STATUS)
    next_step: str


class StreamQuality(_Result):
    """One stream of an audio; the bit rate is in bit/s."""

    name: str
    type: str
    status: str
    bitrate: int | None


class AudioLink(_Result):
    """What get_audio_link gives. A link that is not there is null."""

    audio_id: str
    title: str
    status: str = Field(description=_STATUS)
    ready: bool = Field(description="Whether a stream link is there and the work on it is over.")
    hls_url: str | None
    dash_url: str | None
    hls_player_url: str | None
    dash_player_url: str | None
    duration_seconds: float | None
    qualities: list[StreamQuality]
    next_step: str

    @classmethod
    def of(cls, media: Media, next_step: str) -> AudioLink:
        """Tell what an audio object says of itself."""
        return cls(
            audio_id=media.id,
            title=media.title,
            status=media.status,
            ready=media.ready,
            hls_url=media.hls_url,
            dash_url=media.assets.dash_url,
            hls_player_url=media.assets.hls_player_url,
            dash_player_url=media.assets.dash_player_url,
            duration_seconds=media.duration,
            qualities=[
                StreamQuality(
                    name=quality.name, type=quality.type, status=quality.status, bitrate=quality.audio_bitrate
                )
                for quality in media.qualities
            ],
            next_step=next_step,
        )


class PublishedAudio(AudioLink):
    """What the command ``upload`` gives for a file: all that the four tools give together."""

    mode: Literal["default", "custom"]
    state: Literal["uploaded", "uploading"]
    path: str
    size_bytes: int
    sent_bytes: int
    parts_total: int
    parts_done: int
    parts_resumed: int
    elapsed_seconds: float
    bytes_per_second: int
