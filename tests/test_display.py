from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from aioz_stream_audio.display import display
from aioz_stream_audio.models import Media
from aioz_stream_audio.transfer import Progress

if TYPE_CHECKING:
    from collections.abc import Sequence

pytestmark = pytest.mark.anyio

SIZE = 1_000_000
_ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")


def progress(sent_bytes: int, bytes_per_second: int = 500_000) -> Progress:
    return Progress(
        audio_id="id",
        state="uploading",
        path="/x",
        size_bytes=SIZE,
        sent_bytes=sent_bytes,
        parts_total=4,
        parts_done=1,
        parts_resumed=0,
        elapsed_seconds=1.0,
        bytes_per_second=bytes_per_second,
    )


@pytest.fixture(autouse=True)
def _no_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("TERM", "xterm-256color")
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture
def _terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", "1")


async def show(name: str, sent: Sequence[int], status: str = "transcoding") -> None:
    with display() as shown:
        watcher = shown.watch(name, SIZE)
        await watcher.resumed("id", 1, 4)
        for sent_bytes in sent:
            await watcher.uploading(progress(sent_bytes))
        await watcher.status(Media(id="id", status=status))


def words(stderr: str) -> list[str]:
    """The lines that a terminal shows, without the codes that move and colour them."""
    return _ESCAPES.sub("", stderr).splitlines()


Capture = pytest.CaptureFixture[str]
both = pytest.mark.parametrize("kind", ["0", "1"], ids=["no_terminal", "terminal"])


async def test_without_a_terminal_there_is_a_line_for_each_thing_that_happens(capsys: Capture) -> None:
    await show("a.mp3", [SIZE])
    assert capsys.readouterr().err.splitlines() == [
        "a.mp3: going on with audio id: 1 of 4 parts are there and are skipped",
        "a.mp3: 100 % of 1.0 MB at 500.0 kB/s; 1 of 4 parts have arrived",
        "a.mp3: uploaded as audio id; its status is transcoding",
    ]


async def test_without_a_terminal_a_file_has_ten_lines_of_progress_at_the_most(capsys: Capture) -> None:
    await show("a.mp3", range(0, SIZE + 1, 1_000))
    told = [line for line in capsys.readouterr().err.splitlines() if "%" in line]
    assert [line.split()[1] for line in told] == [str(tenth) for tenth in range(10, 101, 10)]


async def test_without_a_terminal_progress_that_falls_back_is_not_told_twice(capsys: Capture) -> None:
    await show("a.mp3", [SIZE // 2, SIZE // 5, SIZE // 2, SIZE])
    assert [line.split()[1] for line in capsys.readouterr().err.splitlines() if "%" in line] == ["50", "100"]


async def test_a_speed_that_is_not_known_is_not_told(capsys: Capture) -> None:
    with display() as shown:
        await shown.watch("a.mp3", SIZE).uploading(progress(SIZE, bytes_per_second=0))
    assert capsys.readouterr().err == "a.mp3: 100 % of 1.0 MB; 1 of 4 parts have arrived\n"


async def test_a_long_line_is_not_folded_where_there_is_no_terminal(capsys: Capture) -> None:
    await show("a" * 200 + ".mp3", [SIZE])
    assert len(capsys.readouterr().err.splitlines()) == 3


@pytest.mark.usefixtures("_terminal")
async def test_in_a_terminal_each_file_has_a_bar(capsys: Capture) -> None:
    with display() as shown:
        for name in ("a.mp3", "b.mp3"):
            watcher = shown.watch(name, SIZE)
            await watcher.uploading(progress(SIZE // 2))
            await watcher.status(Media(id="id", status="transcoding"))
    last = words(capsys.readouterr().err)[-2:]
    assert [line.split()[0] for line in last] == ["a.mp3", "b.mp3"]
    assert all("━" in line and "0.5/1.0 MB" in line and "transcoding" in line for line in last)


@pytest.mark.usefixtures("_terminal")
async def test_in_a_terminal_an_upload_that_goes_on_says_so_above_the_bars(capsys: Capture) -> None:
    await show("a.mp3", [SIZE])
    assert "a.mp3: going on with audio id: 1 of 4 parts are there and are skipped" in words(capsys.readouterr().err)


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("[red]x[/red].mp3", "[red]x[/red].mp3"),
        ("[/].mp3", "[/].mp3"),
        ("a\\[b].mp3", "a\\[b].mp3"),
        ("[link=file:///x]y[/link].mp3", "[link=file:///x]y[/link].mp3"),
        (":smile:.mp3", ":smile:.mp3"),
        ("a\x1b[2J\x07b\u202ec\nd.mp3", "a [2J bc d.mp3"),
        ("bad\udcff.mp3", "bad.mp3"),
    ],
)
@both
async def test_a_hostile_file_name_is_shown_harmlessly(
    name: str, shown: str, kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", kind)
    await show(name, [SIZE])
    stderr = capsys.readouterr().err
    assert f"{shown}: going on" in "\n".join(words(stderr))
    assert any(line.startswith(shown) and ("100 %" in line or "━" in line) for line in words(stderr))
    assert not {"\x07", "\u202e", "\udcff"} & set(stderr)


@both
async def test_a_hostile_status_is_shown_harmlessly(
    kind: str, monkeypatch: pytest.MonkeyPatch, capsys: Capture
) -> None:
    monkeypatch.setenv("TTY_COMPATIBLE", kind)
    await show("a.mp3", [SIZE], status="[bold]\x1b]0;title\x07[/nothing]")
    stderr = capsys.readouterr().err
    assert any("[bold]" in line and "[/nothing]" in line for line in words(stderr))
    assert "\x07" not in stderr
