from __future__ import annotations

import io
import struct
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioz_stream_audio.audio_format import HEAD_BYTES, AudioFormat, describe_other, recognise
from audio_files import ENCODINGS, make_audio

if TYPE_CHECKING:
    from pathlib import Path

EXPECTED = {
    ".mp3": ("MP3", "audio/mpeg"),
    ".mp2": ("MP2", "audio/mpeg"),
    ".aac": ("AAC", "audio/aac"),
    ".m4a": ("M4A", "audio/mp4"),
    ".m4b": ("M4A", "audio/mp4"),
    ".mp4": ("MP4", "video/mp4"),
    ".mov": ("MOV", "video/quicktime"),
    ".3gp": ("3GP", "video/3gpp"),
    ".flac": ("FLAC", "audio/flac"),
    ".wav": ("WAV", "audio/wav"),
    ".aiff": ("AIFF", "audio/aiff"),
    ".ogg": ("OGG Vorbis", "audio/ogg"),
    ".oga": ("OGG FLAC", "audio/ogg"),
    ".opus": ("OGG Opus", "audio/ogg"),
    ".webm": ("WebM", "audio/webm"),
    ".mka": ("Matroska", "audio/x-matroska"),
    ".wma": ("WMA", "audio/x-ms-wma"),
    ".ac3": ("AC-3", "audio/ac3"),
    ".eac3": ("E-AC-3", "audio/eac3"),
    ".au": ("AU", "audio/basic"),
    ".caf": ("CAF", "audio/x-caf"),
    ".amr": ("AMR", "audio/amr"),
    ".wv": ("WavPack", "audio/x-wavpack"),
}
# MPEG-1 layer III, 128 kbit/s, 44.1 kHz: 417 bytes.
MP3_FRAME = b"\xff\xfb\x90\x00" + b"\x55" * 413
# MPEG-2 layer III, 64 kbit/s, 22.05 kHz: 208 bytes, because its frames are half as long.
MP3_HALF_RATE_FRAME = b"\xff\xf3\x80\x00" + b"\x55" * 204
# AAC LC, 44.1 kHz, stereo: 64 bytes.
ADTS_FRAME = b"\xff\xf1\x50\x80\x08\x1f\xfc" + b"\x55" * 57


def format_name(content: bytes) -> str | None:
    found = recognise(io.BytesIO(content))
    return found.name if found else None


def id3(size: int, *, footer: bool = False) -> bytes:
    places = bytes(size >> shift & 0x7F for shift in (21, 14, 7, 0))
    return b"ID3\x04\x00" + (b"\x10" if footer else b"\x00") + places + b"\xff\xfb" * (size // 2)


def box(kind: bytes, *content: bytes) -> bytes:
    body = b"".join(content)
    return struct.pack(">I4s", 8 + len(body), kind) + body


def track(handler: bytes) -> bytes:
    return box(b"trak", box(b"tkhd", bytes(8)), box(b"mdia", box(b"hdlr", bytes(8), handler, bytes(12))))


def ogg(first_packet: bytes) -> bytes:
    return b"OggS\x00\x02" + bytes(20) + b"\x01" + bytes([len(first_packet)]) + first_packet


def test_the_table_of_expectations_covers_every_format_that_is_made() -> None:
    assert EXPECTED.keys() == ENCODINGS.keys()


@pytest.mark.parametrize("suffix", sorted(EXPECTED))
def test_a_real_file_of_each_format_is_recognised(suffix: str, tmp_path: Path) -> None:
    path = make_audio(tmp_path / f"sine{suffix}", seconds=0.2, title="Sine")
    with path.open("rb") as file:
        found = recognise(file)
    assert found is not None
    assert (found.name, found.media_type) == EXPECTED[suffix]


@pytest.mark.parametrize(
    ("suffix", "sample_rate"),
    [(".mp3", rate) for rate in (8_000, 11_025, 12_000, 16_000, 22_050, 24_000, 32_000, 44_100, 48_000)]
    + [(".mp2", rate) for rate in (16_000, 22_050, 24_000, 32_000, 44_100, 48_000)]
    + [(".aac", rate) for rate in (8_000, 16_000, 44_100, 96_000)]
    + [(suffix, rate) for suffix in (".ac3", ".eac3") for rate in (32_000, 44_100, 48_000)],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_frames_are_followed_at_every_sample_rate(suffix: str, sample_rate: int, channels: int, tmp_path: Path) -> None:
    path = make_audio(tmp_path / f"sine{suffix}", seconds=0.5, sample_rate=sample_rate, channels=channels)
    assert format_name(path.read_bytes()) == EXPECTED[suffix][0]


@pytest.mark.parametrize("suffix", [".mp3", ".mp2", ".aac", ".ac3", ".eac3"])
def test_a_recording_that_starts_inside_a_frame_is_recognised(suffix: str, tmp_path: Path) -> None:
    content = make_audio(tmp_path / f"sine{suffix}", seconds=0.5).read_bytes()
    assert format_name(content[-len(content) // 2 :]) == EXPECTED[suffix][0]


@pytest.mark.parametrize(
    ("content", "name"),
    [
        (MP3_FRAME * 3, "MP3"),
        (bytes(20_000) + MP3_FRAME * 3, "MP3"),
        (b"\xff" + MP3_FRAME * 3, "MP3"),
        (b"\x12\x34" * 2_000 + MP3_FRAME * 3, "MP3"),
        (id3(300_000) + MP3_FRAME * 3, "MP3"),
        (id3(40, footer=True) + b"3DI" + bytes(7) + MP3_FRAME * 3, "MP3"),
        (id3(40) + id3(60) + MP3_FRAME * 3, "MP3"),
        (id3(40) + b"fLaC", "FLAC"),
        (id3(40, footer=True) + b"3DI" + bytes(7) + b"fLaC", "FLAC"),
        (MP3_HALF_RATE_FRAME * 3, "MP3"),
        (ADTS_FRAME * 3, "AAC"),
        (id3(40) + ADTS_FRAME * 3, "AAC"),
        (b"RF64\xff\xff\xff\xffWAVEds64", "WAV"),
        (b"BW64\xff\xff\xff\xffWAVEds64", "WAV"),
        (b"FORM\x00\x00\x10\x00AIFCFVER", "AIFF"),
        (ogg(b"Speex   1.2"), "OGG Speex"),
        (ogg(b"\x80theora\x03\x02") + ogg(b"\x01vorbis"), "OGG Vorbis"),
        (b"MAC \x96\x0f\x00\x00", "Monkey's Audio"),
        (b"#!AMR-WB\n", "AMR"),
        (box(b"ftyp", b"isom") + box(b"moov", track(b"vide"), track(b"soun")), "MP4"),
        (box(b"ftyp", b"M4B ") + box(b"mdat", bytes(99)) + box(b"moov", track(b"soun")), "M4A"),
        (box(b"moov", track(b"soun")), "MOV"),
        (box(b"wide") + struct.pack(">I4sQ", 1, b"mdat", 20) + bytes(4) + box(b"moov", track(b"soun")), "MOV"),
        (box(b"ftyp", b"isom") + b"\x00\x00\x00\x00moov" + track(b"soun"), "MP4"),
    ],
)
def test_what_the_encoders_here_do_not_make_is_recognised_too(content: bytes, name: str) -> None:
    assert format_name(content) == name


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"hello world\nthis is a diary\n", "plain text"),
        ("Straße ".encode() * 20_000, "plain text"),
        (b"\xff\xfe" + "hello wörld".encode("utf-16-le") * 4_000, "plain text"),
        (b"STREAM_SECRET_KEY=abc\n", "plain text"),
        (b'{"a": 1}', "plain text"),
        (b"-----BEGIN OPENSSH PRIVATE KEY-----\nb3Bl\n", "a key or a certificate"),
        (b"#!/bin/sh\necho\n", "a script"),
        (b"<!DOCTYPE html><html></html>", "an HTML or XML document"),
        (b'<?xml version="1.0"?><a/>', "an HTML or XML document"),
        (b"#EXTM3U\nhttps://example.com/a.mp3\n", "a playlist, which only names audio files"),
        (b"\x7fELF\x02\x01\x01" + bytes(60), "an ELF program"),
        (b"MZ" + bytes(58) + b"\x80\x00\x00\x00" + bytes(64) + b"PE\x00\x00", "a Windows program"),
        (b"\xca\xfe\xba\xbe\x00\x00\x00\x34", "a Mach-O program or a Java class"),
        (b"%PDF-1.7\n", "a PDF document"),
        (b"PK\x03\x04\x14\x00", "a ZIP archive or an Office document"),
        (b"PK\x03\x04" + bytes(26) + b"a.mp3" + MP3_FRAME * 30, "a ZIP archive or an Office document"),
        (b"a.mp3".ljust(257, b"\x00") + b"ustar\x0000".ljust(255, b"\x00") + MP3_FRAME * 30, "an archive"),
        (b"\x1f\x8b\x08\x00", "an archive"),
        (b"SQLite format 3\x00", "an SQLite database"),
        (b"\x89PNG\r\n\x1a\n", "an image"),
        (b"\xff\xd8\xff\xe0\x00\x10JFIF", "an image"),
        (b"RIFF\x24\x10\x00\x00WEBPVP8 ", "an image"),
        (b"\x00\x00\x01\x00\x03\x00" + b"\xff" * 5_000, "an image"),
        (box(b"ftyp", b"heic", bytes(4), b"mif1heic") + box(b"meta", bytes(99)), "an image"),
        (box(b"ftyp", b"avif", bytes(4), b"avifmif1miaf"), "an image"),
        (box(b"ftyp", b"crx ") + box(b"moov", track(b"vide")), "an image"),
        (box(b"ftyp", b"isom") + box(b"moov", track(b"vide")), "an MP4 file without a sound track, or cut off"),
        (box(b"ftyp", b"isom") + box(b"mdat", bytes(99)), "an MP4 file without a sound track, or cut off"),
        (box(b"ftyp", b"isom") + b"\x00\x00\x00\x07moov", "an MP4 file without a sound track, or cut off"),
        (ogg(b"\x80theora\x03\x02"), "an OGG file without a sound track"),
        (b"RIFF\x24\x10\x00\x00AVI LIST" + MP3_FRAME * 30, "a video"),
        ((b"G" + bytes(187)) * 20, "a video"),
        (b"\x00\x00\x01\xba" + bytes(30) + MP3_FRAME * 30, "a video"),
        (b"MThd\x00\x00\x00\x06", "MIDI, which is notes and no sound"),
        (bytes(100_000), "nothing but zeros"),
        (id3(40) + b"\xff\xd8\xff\xe0\x00\x10JFIF", "a tag without sound after it"),
        (id3(40), "a tag without sound after it"),
        (id3(10) * 20 + MP3_FRAME * 3, "a tag without sound after it"),
        (b"\xff" * 100_000, "something else"),
        (b"key\x00value\x00", "something else"),
        (MP3_FRAME * 2, "something else"),
        (bytes(70_000) + MP3_FRAME * 3, "nothing but zeros"),
        (MP3_FRAME + ADTS_FRAME * 2, "something else"),
        (b"\xff\xfb\xf0\x00" * 5_000, "something else"),
        (b"\xff\xfb\x9c\x00" * 5_000, "something else"),
        (b"\xff\xf1\x50\x80\x00\x00" * 5_000, "something else"),
        (b"\xff\xf1\x7c\x80\x08\x1f" * 5_000, "something else"),
        (b"\x0b\x77\x00\x00\xc0\x40" * 5_000, "something else"),
        (b"\x0b\x77\x00\x00\x3f\x40" * 5_000, "something else"),
        (b"\x0b\x77\x00\x00\x00\x48" * 5_000, "something else"),
    ],
)
def test_an_impostor_is_not_recognised_and_is_named_for_what_it_is(content: bytes, words: str) -> None:
    assert recognise(io.BytesIO(content)) is None
    assert describe_other(content[:HEAD_BYTES]) == words


@settings(deadline=None)
@given(
    st.binary(max_size=4_000), st.sampled_from([b"", b"ID3\x04", b"\x00\x00\x00\x10ftypisom", b"\xff\xfb", b"OggS\x00"])
)
def test_no_content_makes_recognition_fail(content: bytes, start: bytes) -> None:
    recognise(io.BytesIO(start + content))
    assert describe_other(start + content)


@settings(deadline=None)
@given(st.text())
def test_no_text_is_audio(text: str) -> None:
    assert format_name(f"Note: {text}".encode()) is None


@settings(deadline=None)
@given(st.integers(0, 2**16))
def test_no_chance_content_is_audio(seed: int) -> None:
    content = b"".join(struct.pack("<Q", (seed + n) * 0x9E3779B97F4A7C15 & (2**64 - 1)) for n in range(4_000))
    assert format_name(b"\x12" + content) is None


def test_a_tagged_file_whose_frames_are_far_off_is_an_mp3(tmp_path: Path) -> None:
    path = tmp_path / "song.mp3"
    path.write_bytes(id3(40) + bytes(range(1, 250)) * 400 + MP3_FRAME * 3)
    with path.open("rb") as file:
        assert recognise(file) == AudioFormat("MP3", "audio/mpeg")


def test_a_tag_before_text_makes_no_mp3_of_it(tmp_path: Path) -> None:
    path = tmp_path / "notes.mp3"
    path.write_bytes(id3(40) + b"-- my notes\n" * 400)
    with path.open("rb") as file:
        assert recognise(file) is None
