"""Uploads a file each time it is told to, in a process that is warm: `worker.py library|httpx2 FILE URL`.

A line on standard input starts an upload; its seconds are printed. Between them it idles.
"""

from __future__ import annotations

import hashlib
import math
import os
import sys
import tempfile
import time
from pathlib import Path

import anyio
import anyio.to_thread
import httpx2

from aioz_stream_audio import CreateAudio, Settings, open_uploads
from aioz_stream_audio.transcoding import complete

KEYS = {"stream-public-key": "key", "stream-secret-key": "key"}


def by_httpx2(client: httpx2.Client, file: Path, url: str) -> None:
    """Hash, then ``files=``: what most people write first."""
    audio_id = client.post(f"{url}/create", json={"title": "t", "type": "audio"}).json()["data"]["id"]
    md5 = hashlib.md5(usedforsecurity=False)
    with file.open("rb") as content:
        while chunk := content.read(1024 * 1024):
            md5.update(chunk)
    size = file.stat().st_size
    with file.open("rb") as content:
        client.post(
            f"{url}/{audio_id}/part",
            headers={"Content-Range": f"bytes 0-{size - 1}/{size}"},
            files={"file": content},
            data={"index": "0", "hash": md5.hexdigest()},
        ).raise_for_status()
    client.get(f"{url}/{audio_id}/complete").raise_for_status()
    client.get(f"{url}/{audio_id}").raise_for_status()


def httpx2_worker(file: Path, url: str) -> None:
    """Serve uploads by `by_httpx2`."""
    with httpx2.Client(headers=KEYS, timeout=60) as client:
        for _ in sys.stdin:
            began = time.perf_counter()
            by_httpx2(client, file, url)
            print(time.perf_counter() - began, flush=True)


async def library_worker(file: Path, url: str) -> None:
    """Serve uploads by this project's library."""
    with tempfile.TemporaryDirectory() as state:
        settings = Settings.from_environ(
            {
                **os.environ,
                "STREAM_PUBLIC_KEY": "key",
                "STREAM_SECRET_KEY": "key",
                "AIOZ_STREAM_API_URL": url,
                "AIOZ_STREAM_STATE_DIR": state,
            }
        )
        keys = settings.keys()
        async with open_uploads(settings) as uploads:
            while await anyio.to_thread.run_sync(sys.stdin.readline):
                began = time.perf_counter()
                api = uploads.api(keys)
                source = await uploads.find(str(file))
                media = await api.create(CreateAudio(title="t"))
                await uploads.upload(keys, media.id, source, wait_seconds=math.inf)
                await complete(api, uploads.journal, media.id)
                print(time.perf_counter() - began, flush=True)


if __name__ == "__main__":
    kind, name, address = sys.argv[1:]
    if kind == "library":
        anyio.run(library_worker, Path(name), address)
    else:
        httpx2_worker(Path(name), address)
