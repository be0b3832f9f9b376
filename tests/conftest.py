from __future__ import annotations

from typing import TYPE_CHECKING

import hypothesis
import pytest
import stamina

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Sandbox, serve
from aioz_stream_audio.settings import Settings

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from pathlib import Path


# Its limit on an example's time measures the machine, not the code.
hypothesis.settings.register_profile("patient", deadline=None)
hypothesis.settings.load_profile("patient")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(autouse=True)
def _no_back_off() -> Iterator[None]:
    with stamina.set_testing(True, attempts=5, cap=True):
        yield


@pytest.fixture
async def sandbox(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Sandbox]:
    async with Sandbox(tmp_path_factory.mktemp("sandbox")) as running:
        yield running


@pytest.fixture
async def url(sandbox: Sandbox) -> AsyncIterator[str]:
    async with serve(sandbox) as address:
        yield address


@pytest.fixture
def environ(url: str, tmp_path: Path) -> dict[str, str]:
    """Give the environment of somebody who uploads to the sandbox."""
    return {
        "STREAM_PUBLIC_KEY": PUBLIC_KEY,
        "STREAM_SECRET_KEY": SECRET_KEY,
        "AIOZ_STREAM_API_URL": url,
        "AIOZ_STREAM_STATE_DIR": str(tmp_path / "state"),
    }


@pytest.fixture
def settings(environ: dict[str, str]) -> Settings:
    return Settings.from_environ(environ)
