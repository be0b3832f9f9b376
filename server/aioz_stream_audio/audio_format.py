"""What a file is, by its content: the audio formats that FFmpeg reads, and words for what is not audio.

A format with a magic number is known by it; MP4 and its relatives by a sound track in their boxes, because photographs
are in such boxes too; MPEG audio, ADTS and AC-3, which have no magic number, by frames that follow one another.
"""

from __future__ import annotations

import codecs
import os
import re
import struct
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterator

# How much of the start is looked at: more than the junk tolerated and three of the longest frames, 8,191 bytes of ADTS.
HEAD_BYTES = 65_536
# A recording cut out of a stream starts inside a frame, and some programs leave something before the first one.
_JUNK_BYTES = 16_384
_FRAMES, _FRAME_HEAD_BYTES = 3, 6
# A file made to be slow to read may have any number of tags and boxes; a real one has a few.
_ID3_TAGS_MAX, _BOXES_MAX = 16, 10_000


@dataclass(frozen=True)
class AudioFormat:
    """A format: its name, such as ``MP3``, and its media type, such as ``audio/mpeg``."""

    name: str
    media_type: str


_MAGIC = (
    (rb"(RIFF|RIFX|RF64|BW64).{4}WAVE", "WAV", "audio/wav"),
    (rb"fLaC", "FLAC", "audio/flac"),
    # The codecs are named in the first page of each stream, and all those come first (RFC 3533, section 4).
    (rb"OggS\0.{1,4096}?OpusHead", "OGG Opus", "audio/ogg"),
    (rb"OggS\0.{1,4096}?\x01vorbis", "OGG Vorbis", "audio/ogg"),
    (rb"OggS\0.{1,4096}?\x7fFLAC", "OGG FLAC", "audio/ogg"),
    (rb"OggS\0.{1,4096}?Speex   ", "OGG Speex", "audio/ogg"),
    (rb"FORM.{4}AIF[FC]", "AIFF", "audio/aiff"),
    # The DocType element of the EBML header (RFC 8794, section 11.2.6).
    (rb"\x1a\x45\xdf\xa3.{1,64}?\x42\x82.{1,8}?webm", "WebM", "audio/webm"),
    (rb"\x1a\x45\xdf\xa3.{1,64}?\x42\x82.{1,8}?matroska", "Matroska", "audio/x-matroska"),
    (rb"\x30\x26\xb2\x75\x8e\x66\xcf\x11\xa6\xd9\0\xaa\0\x62\xce\x6c", "WMA", "audio/x-ms-wma"),
    (rb"#!AMR", "AMR", "audio/amr"),
    (rb"\.snd\0\0", "AU", "audio/basic"),
    (rb"caff\0\x01", "CAF", "audio/x-caf"),
    (rb"wvpk", "WavPack", "audio/x-wavpack"),
    (rb"MAC .[\x0c-\x10]", "Monkey's Audio", "audio/x-ape"),
)
_BOXED = re.compile(rb".{4}(ftyp(.{4})|moov|mdat|wide|free|skip)", re.DOTALL)
_BRANDS = (
    (b"M4", AudioFormat("M4A", "audio/mp4")),
    (b"qt", AudioFormat("MOV", "video/quicktime")),
    (b"3g", AudioFormat("3GP", "video/3gpp")),
    (b"", AudioFormat("MP4", "video/mp4")),
)
_ID3 = re.compile(rb"ID3[\x02-\x04][^\xff].[\0-\x7f]{4}", re.DOTALL)
# The sync words of MPEG audio's layers II and III, of ADTS and of AC-3. Layer I is rare, and looks like white pixels.
_SYNC = re.compile(
    rb"(?=\xff(?P<mpeg>[\xe2-\xe5\xf2-\xf5\xfa-\xfd])|\xff(?P<adts>[\xf0\xf1\xf8\xf9])|(?P<ac3>\x0b\x77))"
)

# Hz by the version's two bits; kbit/s by whether it is MPEG-1, and by layer. 0 is what the standard forbids.
_MPEG_SAMPLE_RATES = {3: (44_100, 48_000, 32_000, 0), 2: (22_050, 24_000, 16_000, 0), 0: (11_025, 12_000, 8_000, 0)}
_MPEG_BIT_RATES = {
    (True, 2): (0, 32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 0),
    (True, 3): (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 0),
    (False, 2): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
    (False, 3): (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 0),
}
_MPEG_SLOTS = {(True, 2): 144, (True, 3): 144, (False, 2): 144, (False, 3): 72}
_ADTS_HEAD_BYTES, _ADTS_SAMPLE_RATES = 7, range(13)
_AC3_BIT_RATES = (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384, 448, 512, 576, 640, *[0] * 13)
_AC3_STREAMS, _EAC3_STREAMS = range(9), range(11, 17)

_SOMETHING_ELSE = "something else"
_OTHERS = (
    (rb"%PDF", "a PDF document"),
    (rb"PK(\x03\x04|\x05\x06|\x07\x08)", "a ZIP archive or an Office document"),
    (rb"\x1f\x8b|BZh|\xfd7zXZ|7z\xbc\xaf|Rar!|\x28\xb5\x2f\xfd|.{257}ustar", "an archive"),
    (rb"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "an old Office document"),
    (rb"\x7fELF", "an ELF program"),
    (rb"MZ.{60}\0\0", "a Windows program"),
    (rb"\xfe\xed\xfa[\xce\xcf]|[\xce\xcf]\xfa\xed\xfe|\xca\xfe\xba\xbe", "a Mach-O program or a Java class"),
    (rb"SQLite format 3\0", "an SQLite database"),
    (rb"\x89PNG|\xff\xd8\xff|GIF8|BM.{4}\0{4}|\0\0[\x01\x02]\0|II\*\0|MM\0\*|RIFF.{4}WEBP", "an image"),
    (rb".{4}ftyp(hei|hev|mif|msf|avi|jxl|crx)|\0\0\0\x0c(jP|JXL)  ?\r\n", "an image"),
    (rb".{4}(ftyp|moov|mdat)", "an MP4 file without a sound track, or cut off"),
    (rb"OggS", "an OGG file without a sound track"),
    (rb"RIFF.{4}AVI |FLV\x01|\0\0\x01[\xba\xb3]|\x47.{187}\x47.{187}\x47", "a video"),
    (rb"MThd", "MIDI, which is notes and no sound"),
    (rb"#EXTM3U|\[playlist\]", "a playlist, which only names audio files"),
    (rb"-----BEGIN|PuTTY-User-Key", "a key or a certificate"),
    (rb"#!", "a script"),
    (rb"\s*<(\?xml|!|[a-zA-Z])", "an HTML or XML document"),
    (rb"\0*\Z", "nothing but zeros"),
    (rb"ID3", "a tag without sound after it"),
    (rb"\xff\xfe|\xfe\xff", "plain text"),
)


def recognise(file: BinaryIO) -> AudioFormat | None:
    """Say which format the content of ``file``, open and seekable, is in; None if it is not audio.

    Reads `HEAD_BYTES` after the ID3 tags, and the heads of boxes; leaves the position anywhere. The sound itself is not
    decoded, and of MP3, AAC and AC-3 less than three frames (a tenth of a second) are not recognised.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(start := _after_id3(file))
    head = file.read(HEAD_BYTES)
    for pattern, name, media_type in _MAGIC:
        if re.match(pattern, head, re.DOTALL):
            return AudioFormat(name, media_type)
    if boxed := _BOXED.match(head):
        return _boxed_format(file, start, boxed[2] or b"qt")
    # An archive or a film that carries MP3 is not an MP3, whatever its junk looks like.
    if _other(head):
        return None
    data = head.lstrip(b"\0")
    starts = (sync.start() for sync in _SYNC.finditer(data, 0, _JUNK_BYTES))
    found = next((found for found in (_framed_format(data, position) for position in starts) if found), None)
    if found is None and start and describe_other(head) == _SOMETHING_ELSE:
        # Its tag calls it an MP3, and a decoder looks further for frames than this does.
        return AudioFormat("MP3", "audio/mpeg")
    return found


def describe_other(head: bytes) -> str:
    """Say in words what content that is not audio looks like, from its first bytes; none of it is repeated."""
    if words := _other(head):
        return words
    try:
        # Not final, because the last character may be cut through.
        text = codecs.getincrementaldecoder("utf-8")().decode(head, final=False)
    except UnicodeDecodeError:
        return _SOMETHING_ELSE
    return _SOMETHING_ELSE if "\0" in text else "plain text"


def _other(head: bytes) -> str | None:
    return next((words for pattern, words in _OTHERS if re.match(pattern, head, re.DOTALL)), None)


def _after_id3(file: BinaryIO) -> int:
    """Give where the content starts, in bytes: after the ID3v2 tags (ID3v2.4.0, section 3.1)."""
    start = 0
    for _ in range(_ID3_TAGS_MAX):
        file.seek(start)
        header = file.read(10)
        if not _ID3.fullmatch(header):
            break
        size = sum(byte << 7 * place for place, byte in enumerate(reversed(header[6:])))
        start += size + (20 if header[5] & 0x10 else 10)
    return start


def _boxed_format(file: BinaryIO, start: int, brand: bytes) -> AudioFormat | None:
    end = file.seek(0, os.SEEK_END)
    for handler in _boxes(file, start, end, (b"moov", b"trak", b"mdia", b"hdlr")):
        # A version, a field of QuickTime's, and what the track is (ISO/IEC 14496-12, section 8.4.3).
        file.seek(handler + 8)
        if file.read(4) == b"soun":
            return next(known for prefix, known in _BRANDS if brand.startswith(prefix))
    return None


def _boxes(file: BinaryIO, start: int, end: int, path: tuple[bytes, ...]) -> Iterator[int]:
    """Give where the content of each box on ``path`` starts (ISO/IEC 14496-12, section 4.2)."""
    kind, *rest = path
    for found, content, stop in islice(_box_heads(file, start, end), _BOXES_MAX):
        if found == kind and rest:
            yield from _boxes(file, content, stop, tuple(rest))
        elif found == kind:
            yield content


def _box_heads(file: BinaryIO, start: int, end: int) -> Iterator[tuple[bytes, int, int]]:
    """Give the type of each box from ``start`` to ``end``, and where its content starts and ends, in bytes."""
    while start + 8 <= end:
        file.seek(start)
        head = file.read(16).ljust(16, b"\0")
        size, kind, long_size = struct.unpack(">I4sQ", head)
        content = start + (16 if size == 1 else 8)
        stop = {0: end, 1: start + long_size}.get(size, start + size)
        if stop < content:
            return
        yield kind, content, min(stop, end)
        start = stop


class _Frame(NamedTuple):
    """The head of a frame: its length in bytes, and what all frames of one recording have in common."""

    length: int
    common: tuple[AudioFormat, int, int]


def _framed_format(data: bytes, start: int) -> AudioFormat | None:
    """Give the format of the frames that follow one another from ``start``; None if they do not."""
    common = None
    for _ in range(_FRAMES):
        sync, head = _SYNC.match(data, start), data[start : start + _FRAME_HEAD_BYTES]
        frame = _READERS[str(sync.lastgroup)](head) if sync and len(head) == _FRAME_HEAD_BYTES else None
        if frame is None or frame.common != (common or frame.common):
            return None
        common = frame.common
        start += frame.length
    return common and common[0]


def _mpeg_frame(head: bytes) -> _Frame | None:
    """Read the head of MPEG audio (ISO/IEC 11172-3 and 13818-3, section 2.4.2.3)."""
    version, layer, padding = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3), head[2] >> 1 & 1
    mpeg1 = version == max(_MPEG_SAMPLE_RATES)
    sample_rate = _MPEG_SAMPLE_RATES[version][head[2] >> 2 & 3]
    bit_rate = 1000 * _MPEG_BIT_RATES[mpeg1, layer][head[2] >> 4]
    if not sample_rate or not bit_rate:
        return None
    length = _MPEG_SLOTS[mpeg1, layer] * bit_rate // sample_rate + padding
    return _Frame(length, (AudioFormat(f"MP{layer}", "audio/mpeg"), version, sample_rate))


def _adts_frame(head: bytes) -> _Frame | None:
    """Read the head of ADTS, which carries AAC (ISO/IEC 13818-7, section 6.2)."""
    length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
    sample_rate = head[2] >> 2 & 15
    if length <= _ADTS_HEAD_BYTES or sample_rate not in _ADTS_SAMPLE_RATES:
        return None
    return _Frame(length, (AudioFormat("AAC", "audio/aac"), head[1], sample_rate))


def _ac3_frame(head: bytes) -> _Frame | None:
    """Read the head of AC-3 (ETSI TS 102 366, section 4.3) or E-AC-3 (its annex E)."""
    stream, sample_rate, size = head[5] >> 3, head[4] >> 6, head[4] & 0x3F
    if stream in _EAC3_STREAMS:
        length = 2 * ((head[2] & 7) << 8 | head[3]) + 2
        return _Frame(length, (AudioFormat("E-AC-3", "audio/eac3"), stream, sample_rate))
    bit_rate = _AC3_BIT_RATES[size >> 1]
    # 1,536 samples in words of 16 bits: at 44.1 kHz that does not come out even, so some frames are a word longer.
    words = (2 * bit_rate, bit_rate * 320 // 147 + (size & 1), 3 * bit_rate, 0)[sample_rate]
    if stream not in _AC3_STREAMS or not bit_rate or not words:
        return None
    return _Frame(2 * words, (AudioFormat("AC-3", "audio/ac3"), stream, sample_rate))


_READERS = {"mpeg": _mpeg_frame, "adts": _adts_frame, "ac3": _ac3_frame}
