"""The uploads of this process: begun, joined, drained and gone on with, over one connection pool and one limit."""

from __future__ import annotations

from contextlib import AsyncExitStack, asynccontextmanager
from functools import cached_property, partial
from typing import TYPE_CHECKING

import anyio
import anyio.to_thread

from .api import AiozStream, open_client
from .errors import SourceChangedError, UploadError
from .journal import Journal
from .local_path import shown
from .plan import MIB, choose_part_size
from .source import find_source
from .transfer import Progress, Transfer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    import httpx2
    from anyio.abc import TaskGroup, TaskStatus

    from .journal import Record
    from .settings import Keys, Settings
    from .source import Source

# Progress is told four times a second at most.
TELL_SECONDS = 0.25


async def _tell_nobody(progress: Progress) -> None:
    """Stand in where nobody wants to know."""


class Uploads:
    """The uploads of this process. Made by `open_uploads`; a call that ends leaves its upload going on."""

    def __init__(self, settings: Settings, journal: Journal, tasks: TaskGroup, stack: AsyncExitStack) -> None:
        self.settings = settings
        self.journal = journal
        self._tasks = tasks
        self._stack = stack
        self._slots = anyio.Semaphore(settings.parallel_parts)
        self._transfers: dict[str, Transfer] = {}
        self._waiting: dict[str, int] = {}
        self._starting = anyio.Lock()

    @cached_property
    def client(self) -> httpx2.AsyncClient:
        """Give the connections of this process. Reading the system's certificates takes a while, so not before use."""
        client = open_client()
        self._stack.push_async_callback(client.aclose)
        return client

    def api(self, keys: Keys) -> AiozStream:
        """Give the API with a user's keys, over this process's connections."""
        return AiozStream(self.client, self.settings.api_url, keys)

    async def find(self, path: str) -> Source:
        """Find an audio file that may be sent.

        Raises:
            SourceError: there is none.
        """
        return await anyio.to_thread.run_sync(find_source, path, self.settings.allowed_dirs)

    def find_transfer(self, audio_id: str) -> Transfer | None:
        """Give the last sending to an audio object that this process began, running or ended; None if there is none."""
        return self._transfers.get(audio_id)

    async def upload(
        self,
        keys: Keys,
        audio_id: str,
        source: Source,
        *,
        wait_seconds: float,
        request: str | None = None,
        tell: Callable[[Progress], Awaitable[None]] = _tell_nobody,
    ) -> Progress:
        """Begin the upload of ``source``, join it or go on with it; answer when it is done or after ``wait_seconds``.

        Cancelled while nobody else waits for it, it drains. ``request`` is the JSON body that created the audio object.

        Raises:
            SourceError: the file is not, or no longer, the one that the upload began with.
            UploadError: the upload cannot go on; what arrived is kept.
            JournalError: the journal cannot be used.
        """
        async with self._starting:
            transfer = await self._transfer(keys, audio_id, source, request)
        async with self._drained_if_abandoned(transfer):
            with anyio.move_on_after(wait_seconds):
                while not transfer.ended.is_set():
                    await tell(transfer.progress)
                    with anyio.move_on_after(TELL_SECONDS):
                        await transfer.ended.wait()
        if transfer.error is not None:
            raise transfer.error
        progress = transfer.progress
        await tell(progress)
        return progress

    async def _transfer(self, keys: Keys, audio_id: str, source: Source, request: str | None) -> Transfer:
        transfer = self._transfers.get(audio_id)
        if transfer is not None and (transfer.uploaded or not transfer.ended.is_set()):
            _require_same_file(audio_id, source, transfer.source.path_text, same=transfer.source == source)
            transfer.resume()
            return transfer
        record = await self.journal.begin(audio_id, source, self._part_size(source), request)
        _require_same_file(audio_id, source, record.path, same=record.is_of(source))
        begun: Transfer = await self._tasks.start(partial(self._run, keys, audio_id, source))
        return begun

    async def _run(self, keys: Keys, audio_id: str, source: Source, *, task_status: TaskStatus[Transfer]) -> None:
        async with self.journal.claim(audio_id):
            # Read under the claim: until a moment ago another process may have been sending.
            record: Record | None = await self.journal.get(audio_id)
            if record is None:
                raise UploadError(f"The journal lost the upload of audio {audio_id}; ask again.", audio_id=audio_id)
            transfer = Transfer(self.api(keys), source, record, self.journal, self._slots)
            self._transfers[audio_id] = transfer
            task_status.started(transfer)
            if not transfer.uploaded:
                await transfer.run()

    def _part_size(self, source: Source) -> int:
        if self.settings.part_size_mib is not None:
            return self.settings.part_size_mib * MIB
        return choose_part_size(source.size, self.settings.parallel_parts)

    @asynccontextmanager
    async def _drained_if_abandoned(self, transfer: Transfer) -> AsyncIterator[None]:
        audio_id = transfer.audio_id
        self._waiting[audio_id] = self._waiting.get(audio_id, 0) + 1
        try:
            yield
        except anyio.get_cancelled_exc_class():
            if self._waiting[audio_id] == 1:
                transfer.drain()
            raise
        finally:
            self._waiting[audio_id] -= 1


def _require_same_file(audio_id: str, source: Source, began_with: str, *, same: bool) -> None:
    if same:
        return
    given = shown(source.path)
    if source.path_text == began_with:
        raise SourceChangedError(
            f"{given} has changed since its upload to audio {audio_id} began. Nothing more was sent, "
            "and the audio was not completed. Put the file back as it was, or create a new audio for it as it is now.",
            path=source.path,
        )
    raise UploadError(
        f"Audio {audio_id} was begun with another file, {shown(began_with)}, so nothing was sent. Go on with that "
        f"file, or create a new audio for {given}.",
        audio_id=audio_id,
    )


@asynccontextmanager
async def open_uploads(settings: Settings) -> AsyncIterator[Uploads]:
    """Open the uploads of a process; when it closes, nothing is left running, and nothing acknowledged is lost."""
    async with AsyncExitStack() as stack:
        journal = Journal(settings.state_dir, settings.api_url)
        stack.push_async_callback(journal.aclose)
        try:
            async with anyio.create_task_group() as tasks:
                yield Uploads(settings, journal, tasks, stack)
                tasks.cancel_scope.cancel()
        except ExceptionGroup as group:
            # Transfers keep their errors for whoever waits for them, so this is the block's own.
            raise group.exceptions[0] from None
