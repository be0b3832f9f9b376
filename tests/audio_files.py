"""Small real audio files, made with PyAV, and large ones made of a pattern."""

from __future__ import annotations

import array
import math
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING

import av
from av.audio.frame import AudioFrame
from av.audio.resampler import AudioResampler
from av.audio.stream import AudioStream

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
TONE_HZ = 440
WAV_HEADER_BYTES = 44


@dataclass(frozen=True)
class Encoding:
    """What a suffix is made with: FFmpeg's names of the container, the codec and its sample format."""

    container: str
    codec: str
    sample_format: str
    sample_rate: int | None = None
    channels: int | None = None


ENCODINGS = {
    ".mp3": Encoding("mp3", "libmp3lame", "s16p"),
    ".mp2": Encoding("mp2", "mp2", "s16"),
    ".aac": Encoding("adts", "aac", "fltp"),
    ".m4a": Encoding("ipod", "aac", "fltp"),
    ".m4b": Encoding("ipod", "alac", "s16p"),
    ".mp4": Encoding("mp4", "aac", "fltp"),
    ".mov": Encoding("mov", "pcm_s16le", "s16"),
    ".3gp": Encoding("3gp", "aac", "fltp"),
    ".flac": Encoding("flac", "flac", "s16"),
    ".wav": Encoding("wav", "pcm_s16le", "s16"),
    ".aiff": Encoding("aiff", "pcm_s16be", "s16"),
    ".ogg": Encoding("ogg", "vorbis", "fltp", channels=2),
    ".oga": Encoding("ogg", "flac", "s16"),
    ".opus": Encoding("opus", "libopus", "s16", sample_rate=48_000),
    ".webm": Encoding("webm", "libopus", "s16", sample_rate=48_000),
    ".mka": Encoding("matroska", "flac", "s16"),
    ".wma": Encoding("asf", "wmav2", "fltp"),
    ".ac3": Encoding("ac3", "ac3", "fltp"),
    ".eac3": Encoding("eac3", "eac3", "fltp"),
    ".au": Encoding("au", "pcm_s16be", "s16"),
    ".caf": Encoding("caf", "pcm_s16le", "s16"),
    ".amr": Encoding("amr", "libopencore_amrnb", "s16", sample_rate=8_000, channels=1),
    ".wv": Encoding("wv", "wavpack", "s16p"),
}


def make_audio(
    path: Path, *, seconds: float = 1.0, channels: int = 2, sample_rate: int = 44_100, title: str | None = None
) -> Path:
    """Make a sine of 440 Hz in the format of the path's suffix (`ENCODINGS`), and give the path back.

    A format that has only one sample rate or number of channels gets that, whatever was asked for.
    """
    encoding = ENCODINGS[path.suffix]
    sample_rate = encoding.sample_rate or sample_rate
    layout = "mono" if (encoding.channels or channels) == 1 else "stereo"
    with av.open(str(path), "w", format=encoding.container) as container:
        if title is not None:
            container.metadata["title"] = title
        # FFmpeg calls its own Vorbis encoder experimental; the wheel has no other.
        stream = container.add_stream(encoding.codec, rate=sample_rate, options={"strict": "experimental"})
        assert isinstance(stream, AudioStream)
        stream.bit_rate = 96_000
        stream.format = encoding.sample_format
        stream.layout = layout
        stream.codec_context.open()
        resampler = AudioResampler(encoding.sample_format, layout, sample_rate, stream.codec_context.frame_size or 1024)
        frames = [*resampler.resample(_sine(seconds, sample_rate)), *resampler.resample(None), None]
        # An encoder's last packet may be empty, and some containers refuse that.
        container.mux([packet for frame in frames for packet in stream.encode(frame) if packet.size])
    return path


def _sine(seconds: float, sample_rate: int) -> AudioFrame:
    samples = round(seconds * sample_rate)
    step = 2 * math.pi * TONE_HZ / sample_rate
    sine = array.array("h", (round(16_000 * math.sin(step * n)) for n in range(samples)))
    frame = AudioFrame(format="s16", layout="mono", samples=samples, align=1)
    frame.sample_rate = sample_rate
    frame.pts = 0
    frame.planes[0].update(sine.tobytes())
    return frame


def make_large_audio(path: Path, size_bytes: int) -> Path:
    """Make a WAV of exactly ``size_bytes`` (44 to 2**32), each MiB of it different from every other one.

    So a part that is sent twice, or in another's place, changes the whole.
    """
    pattern = bytes(range(256)) * (2 * MIB // 256)
    with path.open("wb") as file:
        file.write(_wav_header(size_bytes))
        for number, start in enumerate(range(WAV_HEADER_BYTES, size_bytes, MIB)):
            block = number.to_bytes(4, "little") + pattern[number % 256 :]
            file.write(block[: min(MIB, size_bytes - start)])
    return path


def _wav_header(size_bytes: int) -> bytes:
    """Give the header of 16-bit stereo PCM at 44.1 kHz (Multimedia Programming Interface 1.0, chapter 3)."""
    channels, sample_rate, sample_bytes = 2, 44_100, 2
    layout = "<4sI 4s 4sIHHIIHH 4sI"
    frame_bytes = channels * sample_bytes
    form = (1, channels, sample_rate, sample_rate * frame_bytes, frame_bytes, 8 * sample_bytes)
    return struct.pack(
        layout, b"RIFF", size_bytes - 8, b"WAVE", b"fmt ", 16, *form, b"data", size_bytes - WAV_HEADER_BYTES
    )
