"""Transcoding with PyAV; everything here blocks, and is called in anyio's worker threads."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING

import av
from anyio import from_thread

from .playlist import peak_bit_rate

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from av.audio.frame import AudioFrame
    from av.audio.stream import AudioStream
    from av.container import InputContainer, OutputContainer

    from .encoding import Encoding

SEGMENT_SECONDS = 4
# What FFmpeg would otherwise recognise includes playlists and scripts that name other files of this machine.
_DEMUXERS = "aac,ac3,aiff,amr,ape,asf,au,avi,caf,dts,eac3,flac,flv,matroska,webm,mov,mp3,mpeg,mpegts,ogg,tta,w64,wav,wv"
_INPUT = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
_LAYOUTS = {1: "mono", 2: "stereo"}


@dataclass(frozen=True)
class Source:
    """A file with audio in it: its duration in seconds as it says itself, and each track's number of channels."""

    duration: float
    channels: tuple[int, ...]


def probe(path: Path) -> Source | None:
    """Look at a file; None where there is no audio in it that can be decoded."""
    try:
        with av.open(path, "r", options=_INPUT) as container:
            tracks = container.streams.audio
            if not tracks or next(_frames(container, [tracks[0]]), None) is None:
                return None
            seconds = (container.duration or 0) / av.time_base
            return Source(seconds, tuple(track.codec_context.channels for track in tracks))
    except (av.FFmpegError, OSError, ValueError):
        return None


def make_hls(source: Path, folder: Path, encoding: Encoding) -> tuple[float, int]:
    """Write one HLS variant, ``index.m3u8`` and its segments, into ``folder``.

    Returns:
        Seconds of audio, and the variant's peak in bit/s.

    Raises:
        av.FFmpegError, OSError, ValueError: the source cannot be decoded, or the disk refused.
    """
    folder.mkdir(parents=True)
    playlist = folder / "index.m3u8"
    mpegts = encoding.container == "mpegts"
    options = {
        "hls_time": str(SEGMENT_SECONDS),
        "hls_playlist_type": "vod",
        "hls_segment_type": "mpegts" if mpegts else "fmp4",
        "hls_segment_filename": str(folder / f"segment_%05d.{'ts' if mpegts else 'm4s'}"),
    }
    seconds = _encode(source, playlist, "hls", options, [encoding])
    return seconds, peak_bit_rate(playlist, SEGMENT_SECONDS)


def make_dash(source: Path, folder: Path, encodings: Sequence[Encoding]) -> float:
    """Write one DASH presentation of all ``encodings``, ``manifest.mpd`` and its segments, into ``folder``.

    Returns:
        Seconds of audio.

    Raises:
        av.FFmpegError, OSError, ValueError: the source cannot be decoded, or the disk refused.
    """
    folder.mkdir(parents=True)
    # A player switches between the streams of one set, so a set is one track in one language.
    sets: dict[tuple[int, str], list[str]] = {}
    for number, encoding in enumerate(encodings):
        sets.setdefault((encoding.track, encoding.language), []).append(str(number))
    options = {
        "seg_duration": str(SEGMENT_SECONDS),
        "adaptation_sets": " ".join(f"id={n},streams={','.join(streams)}" for n, streams in enumerate(sets.values())),
    }
    return _encode(source, folder / "manifest.mpd", "dash", options, encodings)


def _encode(source: Path, target: Path, muxer: str, options: dict[str, str], encodings: Sequence[Encoding]) -> float:
    """Decode ``source`` once and encode it to every one of ``encodings``; give the seconds of the longest track."""
    with (
        av.open(source, "r", options=_INPUT) as container,
        av.open(target, "w", format=muxer, options=options) as output,
    ):
        tracks = {encoding.track: container.streams.audio[encoding.track] for encoding in encodings}
        streams: dict[int, list[AudioStream]] = {}
        for encoding in encodings:
            track = tracks[encoding.track]
            streams.setdefault(track.index, []).append(_add_stream(output, encoding, track.codec_context.channels))
        seconds = dict.fromkeys(streams, Fraction(0))
        for track_index, frame in _frames(container, list(tracks.values())):
            # Counted anew: what files say of their timestamps has gaps and goes backwards.
            frame.time_base = Fraction(1, frame.sample_rate)
            frame.pts = round(seconds[track_index] * frame.sample_rate)
            seconds[track_index] += Fraction(frame.samples, frame.sample_rate)
            for stream in streams[track_index]:
                output.mux(stream.encode(frame))
        for stream in [stream for group in streams.values() for stream in group]:
            output.mux(stream.encode(None))
    return float(max(seconds.values()))


def _add_stream(output: OutputContainer, encoding: Encoding, source_channels: int) -> AudioStream:
    channels = encoding.channels or min(2, source_channels)
    stream = output.add_stream("aac", rate=encoding.sample_rate, layout=_LAYOUTS[channels])
    stream.bit_rate = encoding.bit_rate
    if encoding.language:
        stream.metadata["language"] = encoding.language
    return stream


def _frames(container: InputContainer, tracks: Sequence[AudioStream]) -> Iterator[tuple[int, AudioFrame]]:
    """Decode ``tracks``, each frame with its stream's index in the file; what is damaged is left out, as players do."""
    by_index = {track.index: track for track in tracks}
    for packet in container.demux(*tracks):
        from_thread.check_cancelled()
        index = packet.stream.index
        try:
            frames = by_index[index].decode(packet)
        except av.FFmpegError:
            continue
        for frame in frames:
            yield index, frame
