"""What the tests of real clients work with: the programs that ``make test-clients`` installs, and one job for all."""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass
from pathlib import Path
from subprocess import STDOUT
from typing import TYPE_CHECKING, Any

import anyio

from aioz_stream_audio.settings import APP_NAME

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from aioz_stream_audio.sandbox import Sandbox

    Call = Callable[[str, dict[str, object]], Awaitable[dict[str, Any]]]
    """Calls a tool by its name and gives what it gives, by way of one client."""

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
SAMPLE = ROOT / "samples" / "speech.mp3"
_CACHE = ROOT / ".cache" / "clients"
MODULES = _CACHE / "node_modules"
_PROGRAMS = (_CACHE / "node" / "node_modules" / "node" / "bin", MODULES / ".bin", ROOT / ".venv" / "bin")

# A user's settings of a client must not reach these tests, nor theirs the user: what finds the network is kept.
_KEPT = re.compile(r"PATH|LANG|LC_\w+|TMPDIR|\w+_PROXY|\w+_proxy|SSL_\w+|\w+_CA_BUNDLE|\w+_CA_CERTS|PIP_\w+|UV_\w+")
# Twice what the slowest of them takes on a machine of two cores.
_PATIENCE = 300


@dataclass(frozen=True)
class Workbench:
    """Runs the installed programs, with a home directory of their own."""

    home: Path

    @property
    def env(self) -> dict[str, str]:
        """Give the environment of a program."""
        kept = {name: value for name, value in os.environ.items() if _KEPT.fullmatch(name)}
        path = os.pathsep.join([*map(str, _PROGRAMS), kept["PATH"]])
        return kept | {"PATH": path, "HOME": str(self.home), "UV_CACHE_DIR": str(_CACHE / "uv"), "NO_COLOR": "1"}

    async def run(self, *command: str | Path, cwd: Path | None = None, env: Mapping[str, str] | None = None) -> str:
        """Run a program to its end, and give its standard output; that it fails is a failure, with all that it said."""
        with anyio.fail_after(_PATIENCE):
            done = await anyio.run_process(
                [str(part) for part in command], cwd=cwd or self.home, env={**self.env, **(env or {})}, check=False
            )
        out, err = done.stdout.decode(), done.stderr.decode()
        assert done.returncode == 0, f"{command} ended with {done.returncode}\n{out}\n{err}"
        return out

    async def told(self, *command: str | Path, cwd: Path | None = None, may_fail: bool = False) -> str:
        """Run a program to its end, and give all that it said, wherever it said it."""
        with anyio.fail_after(_PATIENCE):
            done = await anyio.run_process(
                [str(part) for part in command], cwd=cwd or self.home, env=self.env, stderr=STDOUT, check=False
            )
        out = done.stdout.decode()
        assert may_fail or done.returncode == 0, f"{command} ended with {done.returncode}\n{out}"
        return out


def npm_version(package: str) -> str:
    """Give the version of an installed package."""
    return str(json.loads((MODULES / package / "package.json").read_text())["version"])


async def put_up(call: Call, sandbox: Sandbox) -> None:
    """Chain the four tools as an agent does, and check that every byte arrived and that a link came of it."""
    audio_id = (await call("create_audio", {"title": APP_NAME}))["audio_id"]
    uploaded = await call("upload_audio_file", {"audio_id": audio_id, "path": str(SAMPLE)})
    await call("complete_upload", {"audio_id": audio_id})
    link = await call("get_audio_link", {"audio_id": audio_id, "wait_seconds": 45})
    assert (uploaded["state"], uploaded["size_bytes"]) == ("uploaded", SAMPLE.stat().st_size)
    assert sandbox.received(audio_id).read_bytes() == SAMPLE.read_bytes()
    assert (link["ready"], link["title"]) == (True, APP_NAME)
    assert link["hls_url"].endswith(".m3u8")
