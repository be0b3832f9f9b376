"""Faults, and the sandbox on a port: what needs a real socket has one."""

from __future__ import annotations

import hashlib
import socket
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Fault, Faults, Sandbox, Stall, faults, serve

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

KEYS = {"stream-public-key": PUBLIC_KEY, "stream-secret-key": SECRET_KEY}
BASE = "http://sandbox/api/videos"
DATA = b"data" * 50_000

pytestmark = pytest.mark.anyio


def parts_in(directory: Path) -> int:
    return len(list(directory.glob("*/parts/*")))


def in_process(sandbox: Sandbox) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=sandbox.app), headers=KEYS)


async def until(condition: Callable[[], bool]) -> None:
    """Wait for what the other side of a socket brings about, which no event of this side can tell."""
    for _ in range(500):
        if condition():
            return
        await anyio.sleep(0.01)
    pytest.fail("it did not happen")


async def create(client: httpx2.AsyncClient, url: str = BASE) -> httpx2.Response:
    return await client.post(f"{url}/create", json={"title": "t", "type": "audio"})


async def send(client: httpx2.AsyncClient, media_id: str, url: str = BASE) -> httpx2.Response:
    return await client.post(
        f"{url}/{media_id}/part",
        files={"file": DATA},
        data={"index": "0", "hash": hashlib.md5(DATA).hexdigest()},
        headers={"Content-Range": f"bytes 0-{len(DATA) - 1}/{len(DATA)}"},
    )


async def test_faults_strike_in_the_order_they_were_queued_and_are_accounted_for(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    sandbox.faults.add("create", faults.status(429, "Too many requests.", retry_after="2"), times=2)
    sandbox.faults.add("create", faults.raw(502, "text/html", b"<h1>Bad gateway</h1>"))
    sandbox.faults.add("detail", faults.redirect("http://elsewhere/"))
    async with in_process(sandbox) as client:
        answers = [await create(client) for _ in range(4)]
    assert [answer.status_code for answer in answers] == [429, 429, 502, 200]
    assert answers[0].headers["Retry-After"] == "2"
    assert [queued.call for queued in sandbox.faults.pending] == ["detail"]
    assert len(sandbox.faults.log) == 3
    assert len(sandbox.media) == 1
    assert [entry.outcome for entry in sandbox.account.requests] == ["faulted"] * 3 + ["done"]


async def test_a_fault_can_wait_for_the_part_that_starts_at_a_byte(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    sandbox.faults.add("part", faults.status(500), start=1_000)
    sandbox.faults.add("part", faults.status(503), start=0)
    async with in_process(sandbox) as client:
        media_id = (await create(client)).json()["data"]["id"]
        assert (await send(client, media_id)).status_code == 503
    assert [queued.start for queued in sandbox.faults.pending] == [1_000]


async def test_a_part_called_corrupted_was_read_whole_and_is_not_kept(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    sandbox.faults.add("part", faults.corrupted())
    async with in_process(sandbox) as client:
        media_id = (await create(client)).json()["data"]["id"]
        assert (await send(client, media_id)).json()["message"] == "File corrupted."
        assert (await send(client, media_id)).status_code == 200
    first, second = sandbox.account.entries("part", media_id)
    assert (first.body_bytes, first.outcome, second.outcome) == (second.body_bytes, "faulted", "done")
    assert parts_in(tmp_path) == 1


@pytest.mark.parametrize(
    ("fault", "body"),
    [
        (faults.empty(), b""),
        (faults.truncated_json(), b'{"status": "success", "da'),
        (faults.wrong_json(), b'["unexpected"]'),
        (faults.done_then(faults.raw(500, "text/plain", b"no")), b"no"),
    ],
)
async def test_a_fault_after_the_work_leaves_the_work_done(tmp_path: Path, fault: Fault, body: bytes) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    sandbox.faults.add("create", fault)
    async with in_process(sandbox) as client:
        assert (await create(client)).content == body
    assert len(sandbox.media) == 1
    assert sandbox.account.requests[0].outcome == "done"


@pytest.mark.parametrize("when", ["before", "within", "after"])
async def test_a_stall_ends_and_the_call_goes_on(tmp_path: Path, when: faults.When) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    until = anyio.Event()
    sandbox.faults.add("part", Fault(Stall(until=until), when, after_bytes=1))
    sandbox.faults.add("detail", faults.stall(0.001))
    answers: list[int] = []

    async def sending(client: httpx2.AsyncClient, media_id: str) -> None:
        answers.append((await send(client, media_id)).status_code)

    with anyio.fail_after(90):
        async with in_process(sandbox) as client, anyio.create_task_group() as tasks:
            media_id = (await create(client)).json()["data"]["id"]
            tasks.start_soon(sending, client, media_id)
            await anyio.wait_all_tasks_blocked()
            assert answers == []
            until.set()
        async with in_process(sandbox) as client:
            assert (await client.get(f"{BASE}/{media_id}")).status_code == 200
    assert answers == [200]


def test_a_fault_that_could_never_strike_is_refused() -> None:
    with pytest.raises(ValueError, match="no body"):
        Faults().add("complete", faults.reset(after_bytes=1))
    with pytest.raises(ValueError, match="must be one of"):
        Faults().add("nothing", faults.reset())  # type: ignore[arg-type]


async def test_in_process_a_dropped_connection_is_an_error_of_the_operating_system(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    sandbox.faults.add("create", faults.reset())
    async with in_process(sandbox) as client:
        with pytest.raises(ConnectionResetError):
            await create(client)
    assert sandbox.account.requests[0].status is None


@pytest.mark.parametrize(
    ("fault", "outcome", "kept"),
    [
        (faults.reset(), "faulted", 0),
        (faults.reset(after_bytes=100_000), "faulted", 0),
        (faults.reset(after_bytes=10**9), "faulted", 0),
        (faults.done_then(faults.reset()), "done", 1),
        (faults.cut(), "done", 1),
    ],
)
async def test_a_dropped_connection_is_a_network_error_and_the_account_knows_the_truth(
    tmp_path: Path, fault: Fault, outcome: str, kept: int
) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    with anyio.fail_after(90):
        async with serve(sandbox) as url, httpx2.AsyncClient(headers=KEYS) as client:
            media_id = (await create(client, url)).json()["data"]["id"]
            sandbox.faults.add("part", fault)
            with pytest.raises(httpx2.TransportError):
                await send(client, media_id, url)
            assert (await client.get(f"{url}/{media_id}")).status_code == 200
    assert sandbox.account.entries("part")[0].outcome == outcome
    assert parts_in(tmp_path) == kept


async def test_a_client_that_leaves_in_the_middle_leaves_nothing_behind(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False)
    with anyio.fail_after(90):
        async with serve(sandbox) as url:
            async with httpx2.AsyncClient(headers=KEYS) as client:
                media_id = (await create(client, url)).json()["data"]["id"]
            port = int(url.split(":")[2].split("/")[0])
            head = (
                f"POST /api/media/{media_id}/part HTTP/1.1\r\nHost: sandbox\r\nContent-Length: 9999999\r\n"
                f"Content-Type: multipart/form-data; boundary=b\r\nContent-Range: bytes 0-9/10\r\n"
                f"stream-public-key: {PUBLIC_KEY}\r\nstream-secret-key: {SECRET_KEY}\r\n\r\n"
                '--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
            )
            async with await anyio.connect_tcp("127.0.0.1", port) as stream:
                await stream.send(head.encode() + b"x" * 2_000_000)
                await until(lambda: any(entry.body_bytes for entry in sandbox.account.entries("part")))
            await until(lambda: bool(sandbox.account.entries("part")[0].outcome))
    assert sandbox.account.entries("part")[0].outcome == "disconnected"
    assert parts_in(tmp_path) == 0


async def test_serving_ends_with_connections_open(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path)
    with anyio.fail_after(90):
        async with httpx2.AsyncClient(headers=KEYS) as client:
            async with sandbox, serve(sandbox) as url:
                assert (await client.get(f"{url}/cost")).status_code == 200
            with pytest.raises(httpx2.ConnectError):
                await client.get(f"{url}/cost")


async def test_serving_ends_with_a_request_unanswered_and_logs_no_traceback(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    sandbox = Sandbox(tmp_path)
    sandbox.faults.add("create", faults.stall(until=anyio.Event()))
    errors: list[Exception] = []

    async def asking(client: httpx2.AsyncClient, url: str) -> None:
        try:
            await create(client, url)
        except httpx2.TransportError as error:
            errors.append(error)

    with anyio.fail_after(90):
        async with (
            httpx2.AsyncClient(headers=KEYS) as client,
            anyio.create_task_group() as tasks,
            serve(sandbox) as url,
        ):
            tasks.start_soon(asking, client, url)
            await until(lambda: sandbox.account.count("create") == 1)
    assert len(errors) == 1
    assert [record.exc_info for record in caplog.records if record.exc_info] == []


async def test_a_port_that_is_taken_is_named(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(OSError, match=f"Port {port} of 127.0.0.1 cannot be used"):
            async with serve(Sandbox(tmp_path), port):
                pass


async def test_an_error_of_the_block_comes_out_as_it_is(tmp_path: Path) -> None:
    with anyio.fail_after(90), pytest.raises(LookupError, match="the block's own"):
        async with serve(Sandbox(tmp_path)):
            raise LookupError("the block's own")
