from __future__ import annotations

import contextlib
import os
import socket
import sys
import tempfile
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aioz_stream_audio.errors import (
    AiozStreamError,
    NotAudioError,
    SourceChangedError,
    SourceNotFoundError,
    SourceRefusedError,
)
from aioz_stream_audio.local_path import shown
from aioz_stream_audio.models import FILE_MAX_BYTES
from aioz_stream_audio.source import Source, Tags, find_source, read_tags
from audio_files import make_audio, make_large_audio

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

NOBODY = 65_534
SAMPLES = Path(__file__).parent.parent / "samples"
WINDOWS = os.name == "nt"

posix_only = pytest.mark.skipif(WINDOWS, reason="Windows has no such files, or no such rights")


@pytest.fixture
def song(tmp_path: Path) -> Path:
    return make_large_audio(tmp_path / "song.wav", 10_000).resolve()


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    """Give up root's right to read everything, if this is root."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


class Meanwhile(list[Path]):
    """Allowed directories, asked for after the path is resolved and before the file is opened: `move` comes between."""

    def __init__(self, root: Path, move: Callable[[], object]) -> None:
        super().__init__([root])
        self.move = move

    def __iter__(self) -> Iterator[Path]:
        self.move()
        return super().__iter__()


def test_a_source_tells_where_it_is_and_what_it_is(song: Path) -> None:
    source = find_source(song)
    status = song.stat()
    assert source == Source(
        song, 10_000, status.st_mtime_ns, (status.st_dev, status.st_ino), format="WAV", media_type="audio/wav"
    )


@pytest.mark.parametrize("name", ["speech.mp3", "speech.flac"])
def test_the_samples_are_audio_with_a_title(name: str) -> None:
    tags = read_tags(find_source(SAMPLES / name))
    assert tags.title == "Speech sample"
    assert tags.channels == 1
    assert tags.duration_seconds == pytest.approx(5.5, abs=0.1)


@pytest.mark.parametrize(
    "wrap",
    [
        "{}",
        '"{}"',
        "'{}'",
        "`{}`",
        "“{}”",
        "<{}>",
        "  {}\n",
        ' "{}" ',
        "file://{}",
        "file://localhost{}",
        "FILE:{}",
    ],
)
def test_a_path_may_stand_in_what_a_chat_puts_around_it(wrap: str, song: Path) -> None:
    text = wrap.format(song.as_uri().removeprefix("file://") if "file" in wrap.lower() else song)
    assert find_source(text).path == song


@pytest.mark.parametrize("name", ["two words.wav", "a#b?c%20d.wav", "ünïcödé 音楽 🎵.wav", "it's.wav", "'quoted'.wav"])
def test_any_name_is_found_as_path_and_as_url(name: str, song: Path) -> None:
    path = song.rename(song.with_name(name))
    assert find_source(str(path)).path == path
    assert find_source(f'"{path}"').path == path
    assert find_source(path.as_uri()).path == path


def test_a_url_that_was_not_encoded_is_read_as_it_was_meant(song: Path) -> None:
    path = song.rename(song.with_name("take #2?.wav"))
    assert find_source(f"file://{path}").path == path


@posix_only
def test_a_path_dragged_into_a_terminal_loses_its_backslashes(song: Path) -> None:
    path = song.rename(song.with_name("two words (live).wav"))
    assert find_source(str(path).replace(" ", "\\ ").replace("(", "\\(").replace(")", "\\)")).path == path


def test_a_relative_path_starts_at_the_working_directory(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(song.parent)
    assert find_source("song.wav").path == song
    assert find_source(Path("..") / song.parent.name / "song.wav").path == song


def test_a_tilde_is_the_home_directory(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(song.parent))
    monkeypatch.setenv("USERPROFILE", str(song.parent))
    assert find_source("~/song.wav").path == song
    with pytest.raises(SourceNotFoundError):
        find_source("~no-such-user/song.wav")


@pytest.mark.parametrize(("there", "asked"), [("NFC", "NFD"), ("NFD", "NFC")])
def test_an_accent_may_be_composed_or_not(
    there: Literal["NFC", "NFD"], asked: Literal["NFC", "NFD"], tmp_path: Path
) -> None:
    directory = tmp_path.resolve() / unicodedata.normalize(there, "Café")
    directory.mkdir()
    path = make_large_audio(directory / unicodedata.normalize(there, "Ångström.wav"), 10_000)
    found = find_source(tmp_path / unicodedata.normalize(asked, "Café") / unicodedata.normalize(asked, "Ångström.wav"))
    assert found.path.samefile(path)


def test_a_narrow_space_may_be_typed_as_a_plain_one(song: Path) -> None:
    path = song.rename(song.with_name("Recording 3.15\N{NARROW NO-BREAK SPACE}PM.wav"))
    assert find_source(path.with_name("Recording 3.15 PM.wav")).path == path


def test_a_link_is_followed_to_the_file(song: Path) -> None:
    link = song.with_name("link.wav")
    link.symlink_to(song)
    assert find_source(link).path == song


@pytest.mark.parametrize("path", ["", "  ", '" "'])
def test_no_path_is_not_the_working_directory(path: str) -> None:
    with pytest.raises(SourceNotFoundError, match="No path was given"):
        find_source(path)


def test_a_path_that_is_not_there_brings_the_names_near_it(song: Path) -> None:
    for name in ("song2.wav", "sing.wav", "ring.wav", "song.txt", "secrets.env"):
        song.with_name(name).write_bytes(b"x")
    with pytest.raises(SourceNotFoundError, match="nothing was sent") as caught:
        find_source(song.with_name("sonk.wav"))
    assert '"song.wav"' in str(caught.value)
    assert str(caught.value).count('"') == 6
    assert ".txt" not in str(caught.value)
    assert caught.value.path == song.with_name("sonk.wav")


def test_a_file_is_not_a_directory_to_look_in(song: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        find_source(song / "song.wav")


def test_a_link_to_nothing_is_not_found(tmp_path: Path) -> None:
    (tmp_path / "link.wav").symlink_to(tmp_path / "gone.wav")
    with pytest.raises(SourceNotFoundError):
        find_source(tmp_path / "link.wav")


@pytest.mark.parametrize(
    ("path", "advice"),
    [
        ("/mnt/user-data/uploads/song.mp3", "chat host's own sandbox"),
        ("/mnt/data/song.mp3", "chat host's own sandbox"),
        ("sandbox:/mnt/data/song.mp3", "chat host's own sandbox"),
        ("C:\\Users\\no-such-user\\song.mp3", "another machine"),
        ("file:///C:/Users/no-such-user/song.mp3", "another machine"),
        ("\\\\no-such-host\\share\\song.mp3", "another machine"),
        ("/Users/no-such-user/song.mp3", "another machine"),
        ("/home/no-such-user/song.mp3", "another machine"),
        ("no/such/song.mp3", "whole path"),
    ],
)
def test_a_path_of_another_machine_is_explained(path: str, advice: str) -> None:
    with pytest.raises(SourceNotFoundError, match=advice):
        find_source(path)


@pytest.mark.parametrize("path", ["a\x00b.mp3", "\ud800.mp3"])
def test_a_name_that_no_file_can_have_is_not_found(path: str) -> None:
    with pytest.raises(SourceNotFoundError) as caught:
        find_source(path)
    str(caught.value).encode()


@pytest.mark.parametrize(
    "path",
    ["https://example.com/a.mp3?token=xyzzy", "HTTP://example.com/a.mp3", "s3://bucket/a", "file://host/share/a"],
)
def test_an_address_is_refused_and_not_repeated(path: str) -> None:
    with pytest.raises(SourceRefusedError, match="Download it first") as caught:
        find_source(path)
    assert "xyzzy" not in str(caught.value)


def test_a_directory_is_refused_with_the_audio_in_it(song: Path) -> None:
    (song.parent / "notes.txt").write_bytes(b"x")
    with pytest.raises(SourceRefusedError, match=r'is a directory. There is audio in it: "song.wav"'):
        find_source(song.parent)


def test_a_directory_without_audio_or_with_much_of_it_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefusedError, match=r"is a directory. Name a file in it."):
        find_source(tmp_path)
    for number in range(9):
        (tmp_path / f"{number}.mp3").write_bytes(b"x")
    with pytest.raises(SourceRefusedError, match=r"is a directory. Name a file in it."):
        find_source(tmp_path)


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").touch()
    with pytest.raises(SourceRefusedError, match="is empty"):
        find_source(tmp_path / "a.mp3")


def test_a_file_beyond_the_limit_is_refused(song: Path) -> None:
    try:
        os.truncate(song, FILE_MAX_BYTES + 1)
    except OSError:
        pytest.skip("this file system has no files this large")
    with pytest.raises(SourceRefusedError, match="2000000000000 at most"):
        find_source(song)


@posix_only
def test_a_pipe_is_refused_without_waiting_for_its_writer(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "a.mp3")
    with pytest.raises(SourceRefusedError, match="is a pipe"):
        find_source(tmp_path / "a.mp3")


@posix_only
def test_a_socket_is_refused() -> None:
    # Not in tmp_path: the path of a socket is at most about a hundred bytes long.
    with tempfile.TemporaryDirectory() as directory, socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{directory}/a.mp3")
        with pytest.raises(SourceRefusedError, match="a socket"):
            find_source(f"{directory}/a.mp3")


@posix_only
@pytest.mark.parametrize("path", ["/dev/null", "/dev/zero"])
def test_a_device_is_refused(path: str, tmp_path: Path) -> None:
    (tmp_path / "a.mp3").symlink_to(path)
    for name in (path, tmp_path / "a.mp3"):
        with pytest.raises(SourceRefusedError, match="a device"):
            find_source(name)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux has /proc")
def test_the_system_s_own_files_are_refused() -> None:
    with pytest.raises(SourceRefusedError, match="a file of the system's own"):
        find_source("/proc/self/environ")


@posix_only
def test_a_file_that_may_not_be_read_is_refused(song: Path) -> None:
    song.chmod(0)
    with as_nobody(), pytest.raises(SourceRefusedError, match="may not be read by this server"):
        find_source(song)


@posix_only
def test_a_name_that_is_too_long_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SourceRefusedError, match="nothing was sent") as caught:
        find_source(tmp_path / ("a" * 5_000))
    assert len(str(caught.value)) < 600
    with pytest.raises(AiozStreamError):
        find_source("/a" * 20_000)


@posix_only
def test_links_that_go_round_in_a_circle_are_refused(tmp_path: Path) -> None:
    (tmp_path / "a.mp3").symlink_to(tmp_path / "b.mp3")
    (tmp_path / "b.mp3").symlink_to(tmp_path / "a.mp3")
    with pytest.raises(SourceRefusedError):
        find_source(tmp_path / "a.mp3")


def test_other_content_under_the_name_of_audio_is_refused_and_not_repeated(tmp_path: Path) -> None:
    path = tmp_path / "a.mp3"
    path.write_text("-----BEGIN OPENSSH PRIVATE KEY-----\nb3BlbnNzaC1rZXktdjEAAAAA\n")
    with pytest.raises(NotAudioError, match=r"looks like a key or a certificate. Nothing was sent.") as caught:
        find_source(path)
    assert "b3Bl" not in str(caught.value)


def test_a_file_inside_an_allowed_directory_is_taken(song: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(song.parent))
    monkeypatch.setenv("USERPROFILE", str(song.parent))
    link = song.with_name("way in")
    link.symlink_to(song.parent, target_is_directory=True)
    for root in (song.parent, song.parent.parent, link, Path("~")):
        assert find_source(song, [song.parent / "no such", Path("\x00"), root]).path == song


@pytest.mark.parametrize("exists", [True, False])
def test_a_file_outside_is_refused_whether_it_is_there_or_not(exists: bool, song: Path) -> None:  # noqa: FBT001
    allowed = song.parent / "allowed"
    allowed.mkdir()
    path = song if exists else song.with_name("sonk.wav")
    with pytest.raises(SourceRefusedError, match="outside the directories") as caught:
        find_source(path, [allowed])
    assert str(allowed) in str(caught.value)
    assert '"song.wav"' not in str(caught.value)
    with pytest.raises(SourceRefusedError, match="outside the directories"):
        find_source(allowed / ".." / path.name, [allowed])
    with pytest.raises(SourceRefusedError, match=r"\(none\)"):
        find_source(path, [])


def test_a_link_out_of_an_allowed_directory_leads_nowhere(song: Path) -> None:
    allowed = song.parent / "allowed"
    allowed.mkdir()
    (allowed / "a.wav").symlink_to(song)
    (allowed / "up").symlink_to(song.parent, target_is_directory=True)
    for path in (allowed / "a.wav", allowed / "up" / "song.wav"):
        with pytest.raises(SourceRefusedError, match="outside the directories"):
            find_source(path, [allowed])


def test_a_directory_whose_name_only_begins_alike_is_outside(song: Path) -> None:
    for name in ("allowed", "allowed-not"):
        (song.parent / name).mkdir()
    path = song.rename(song.parent / "allowed-not" / "song.wav")
    with pytest.raises(SourceRefusedError, match="outside the directories"):
        find_source(path, [song.parent / "allowed"])


def test_a_link_that_takes_the_file_s_place_while_it_is_looked_at_is_noticed(song: Path) -> None:
    secret = make_large_audio(song.with_name("secret.wav"), 10_000)

    def move() -> None:
        song.unlink()
        song.symlink_to(secret)

    with pytest.raises(SourceChangedError, match="replaced while it was being opened"):
        find_source(song, Meanwhile(song.parent, move))


def test_a_link_that_takes_a_directory_s_place_while_it_is_looked_at_is_noticed(song: Path) -> None:
    inside, outside = song.parent / "inside", song.parent / "outside"
    for directory in (inside, outside):
        directory.mkdir()
        make_large_audio(directory / "song.wav", 10_000)

    def move() -> None:
        inside.rename(inside.with_name("aside"))
        inside.symlink_to(outside, target_is_directory=True)

    with pytest.raises(SourceChangedError, match="replaced while it was being opened"):
        find_source(inside / "song.wav", Meanwhile(song.parent, move))


def test_a_file_that_goes_while_it_is_looked_at_is_not_found(song: Path) -> None:
    with pytest.raises(SourceNotFoundError):
        find_source(song, Meanwhile(song.parent, song.unlink))


def test_a_source_that_nobody_touched_opens_again(song: Path) -> None:
    source = find_source(song)
    with source.open() as file:
        source.check(file)
        assert file.read() == song.read_bytes()
        source.check(file)


def grow(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"x")


def touch(path: Path) -> None:
    os.utime(path, ns=(0, path.stat().st_mtime_ns + 1_000_000_000))


def replace(path: Path) -> None:
    status = path.stat()
    other = make_large_audio(path.with_name("other.wav"), status.st_size)
    os.utime(other, ns=(0, status.st_mtime_ns))
    other.replace(path)


def replace_by_directory(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (grow, "changed its size from 10000 to 10001 bytes"),
        (touch, "was written to"),
        (replace, "was replaced by another file"),
        (Path.unlink, "was moved or deleted"),
        pytest.param(replace_by_directory, "can no longer be read", marks=posix_only),
    ],
)
def test_a_file_that_changed_does_not_open_again(change: Callable[[Path], None], what: str, song: Path) -> None:
    source = find_source(song)
    change(song)
    with pytest.raises(SourceChangedError, match=what) as caught:
        source.open()
    assert "nothing was completed" in str(caught.value)
    assert "start over with a new upload" in str(caught.value)
    assert caught.value.path == song


@pytest.mark.parametrize(("change", "what"), [(grow, "changed its size"), (touch, "was written to")])
def test_a_change_while_it_is_read_is_noticed(change: Callable[[Path], None], what: str, song: Path) -> None:
    source = find_source(song)
    with source.open() as file:
        change(song)
        with pytest.raises(SourceChangedError, match=what):
            source.check(file)


@pytest.mark.parametrize("suffix", [".mp3", ".m4a", ".flac", ".wav", ".ogg", ".opus", ".aiff", ".wma"])
@pytest.mark.parametrize("channels", [1, 2])
def test_tags_bring_title_duration_and_channels(suffix: str, channels: int, tmp_path: Path) -> None:
    path = make_audio(tmp_path / f"sine{suffix}", seconds=0.5, channels=channels, title="Sine in Ä")
    tags = read_tags(find_source(path))
    assert tags.title == "Sine in Ä"
    assert tags.duration_seconds == pytest.approx(0.5, abs=0.1)
    assert tags.channels == (2 if suffix == ".ogg" else channels)


def test_a_title_is_one_line_without_control_characters(tmp_path: Path) -> None:
    path = make_audio(tmp_path / "sine.flac", seconds=0.1, title="  One\ttwo\n\x1b three  ")
    assert read_tags(find_source(path)).title == "One two three"


@pytest.mark.parametrize("suffix", [".ac3", ".amr"])
def test_what_has_no_tags_has_none(suffix: str, tmp_path: Path) -> None:
    assert read_tags(find_source(make_audio(tmp_path / f"sine{suffix}", seconds=0.2))) == Tags()


def test_a_file_that_is_gone_has_no_tags(song: Path) -> None:
    source = find_source(song)
    song.unlink()
    assert read_tags(source) == Tags()


@settings(deadline=None)
@given(st.binary(max_size=500))
def test_tags_of_broken_files_are_never_an_error(content: bytes) -> None:
    with tempfile.TemporaryDirectory() as directory:
        path = Path(directory, "broken")
        for magic in (b"fLaC\0\0\0\x22", b"RIFF\x24\0\0\0WAVE", b"OggS\0\x02" + bytes(22) + b"\x01vorbis", b"#!AMR\n"):
            path.write_bytes(magic + content)
            read_tags(find_source(path))


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_no_name_is_anything_but_found_or_refused(name: str) -> None:
    with contextlib.suppress(AiozStreamError):
        find_source(name)
    try:
        find_source(f"/no-such-directory/{name}", [Path("/no-such-directory")])
    except AiozStreamError as error:
        str(error).encode()


@settings(deadline=None)
@given(st.text(st.characters(exclude_categories=[])))
def test_a_path_is_shown_in_one_short_line(name: str) -> None:
    text = shown(name)
    text.encode()
    assert len(text) <= 301
    assert len(text.splitlines()) <= 1


def test_a_long_path_is_shown_by_its_ends() -> None:
    assert shown("/music/" + "x" * 1_000 + "/song.wav").startswith("/music/")
    assert shown("/music/" + "x" * 1_000 + "/song.wav").endswith("/song.wav")
