"""A process that dies at any moment of an upload costs the parts on the way, and nothing else."""

from __future__ import annotations

import os
import random
import signal
import sys
from typing import TYPE_CHECKING

import anyio
import pytest

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Line, Sandbox, serve
from audio_files import make_large_audio

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.anyio

MIB = 1024 * 1024
KILLS = 20
PARALLEL, PART_SIZE, SIZE = 3, MIB, 40 * MIB
COMMAND = [sys.executable, "-m", "aioz_stream_audio", "upload", "--json"]


async def test_killed_at_twenty_moments_an_upload_still_ends_whole(tmp_path: Path) -> None:
    moments = random.Random(20261122)
    song = make_large_audio(tmp_path / "song.wav", SIZE)
    (tmp_path / "sandbox").mkdir()
    # Slow enough that a process is in the middle of its parts when it is killed.
    line = Line(bytes_per_second=4 * MIB)
    async with Sandbox(tmp_path / "sandbox", transcode=False, line=line) as sandbox, serve(sandbox) as url:
        environ = {
            **os.environ,
            "STREAM_PUBLIC_KEY": PUBLIC_KEY,
            "STREAM_SECRET_KEY": SECRET_KEY,
            "AIOZ_STREAM_API_URL": url,
            "AIOZ_STREAM_STATE_DIR": str(tmp_path / "state"),
            "AIOZ_STREAM_PART_SIZE_MIB": str(PART_SIZE // MIB),
            "AIOZ_STREAM_PARALLEL_PARTS": str(PARALLEL),
        }

        def arrived() -> int:
            return sum(entry.body_bytes for entry in sandbox.account.entries("part"))

        killed = 0
        while killed < KILLS:
            until = arrived() + moments.randrange(1, SIZE // KILLS)
            async with await anyio.open_process(
                [*COMMAND, str(song)], env=environ, stdout=None, stderr=None
            ) as process:
                with anyio.fail_after(90):
                    while arrived() < until and process.returncode is None:  # noqa: ASYNC110 - bytes set no event
                        await anyio.sleep(0.005)
                assert process.returncode is None, "the upload ended before it could be killed"
                process.send_signal(signal.SIGKILL)
                await process.wait()
            killed += 1
        done = await anyio.run_process([*COMMAND, str(song)], env=environ)
        sent = arrived()
    assert done.returncode == 0
    assert sandbox.account.count("create") == 1
    (media,) = sandbox.media.values()
    assert (media.status, sandbox.account.count("complete")) == ("done", 1)
    assert sandbox.received(media.id).read_bytes() == song.read_bytes()
    # What a form adds to its part is a few hundred bytes.
    forms = 1000 * sandbox.account.count("part")
    assert sent - SIZE <= KILLS * PARALLEL * PART_SIZE + forms
