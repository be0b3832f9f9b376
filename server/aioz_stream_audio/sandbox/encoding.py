"""One stream to make of a source, and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from aioz_stream_audio.models import Container, Preset, StreamType


@dataclass(frozen=True)
class Encoding:
    """How to encode one quality, every default filled in but the channels'.

    Attributes:
        preset: its name.
        type: the streaming format.
        container: what the segments are in.
        bit_rate: bit/s.
        sample_rate: Hz.
        channels: how many were asked for; None for as many as the source has, at most two.
        language: BCP 47, or empty.
        track: the source's audio track, from 0.
    """

    preset: Preset
    type: StreamType
    container: Container
    bit_rate: int
    sample_rate: int
    channels: int | None
    language: str
    track: int
