"""What the tests of uploading share: one sandbox and one set of connections a module, and small parts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from aioz_stream_audio.api import open_client
from aioz_stream_audio.sandbox import Sandbox, serve
from aioz_stream_audio.uploads import Uploads, open_uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    import httpx2

    from aioz_stream_audio.settings import Keys, Settings


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def served(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[tuple[Sandbox, str]]:
    """Serve one sandbox for all tests of a module, because a server takes its time to stop."""
    async with Sandbox(tmp_path_factory.mktemp("sandbox"), transcode=False) as running, serve(running) as address:
        yield running, address


@pytest.fixture
def sandbox(served: tuple[Sandbox, str]) -> Sandbox:
    """Give the sandbox as if it were new."""
    sandbox, _ = served
    for memory in (sandbox.account.requests, sandbox.faults.pending, sandbox.faults.log, sandbox.media):
        memory.clear()
    return sandbox


@pytest.fixture
def url(served: tuple[Sandbox, str], sandbox: Sandbox) -> str:  # noqa: ARG001 - made new before it is used
    return served[1]


@pytest.fixture
def parallel_parts() -> int:
    """Give how many parts may be on the way at once; a module with another number in mind says so."""
    return 2


@pytest.fixture
def settings(settings: Settings, parallel_parts: int) -> Settings:
    return settings.model_copy(update={"part_size_mib": 1, "parallel_parts": parallel_parts})


@pytest.fixture
def keys(settings: Settings) -> Keys:
    return settings.keys()


@pytest.fixture(scope="module")
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """Open connections for all tests of a module, because reading the system's certificates takes a while."""
    async with open_client() as opened:
        yield opened


@pytest.fixture
async def uploads(settings: Settings, client: httpx2.AsyncClient) -> AsyncIterator[Uploads]:
    async with open_uploads(settings) as opened:
        opened.client = client
        yield opened
