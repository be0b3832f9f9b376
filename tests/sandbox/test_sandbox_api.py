"""The sandbox's calls, as a client sees them."""

from __future__ import annotations

import base64
import hashlib
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest
from anyio import to_thread

from aioz_stream_audio.sandbox import PUBLIC_KEY, SECRET_KEY, Line, Sandbox

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

KEYS = {"stream-public-key": PUBLIC_KEY, "stream-secret-key": SECRET_KEY}
BASE = "http://sandbox/api/videos"
BOUNDARY = "boundary"

pytestmark = pytest.mark.anyio


def client_of(sandbox: Sandbox, keys: dict[str, str] | None = None) -> httpx2.AsyncClient:
    headers = KEYS if keys is None else keys
    return httpx2.AsyncClient(transport=httpx2.ASGITransport(app=sandbox.app), headers=headers)


@asynccontextmanager
async def storing(directory: Path) -> AsyncIterator[tuple[Sandbox, httpx2.AsyncClient]]:
    """A sandbox that takes any bytes, and a client with its keys."""
    sandbox = Sandbox(directory, transcode=False)
    async with client_of(sandbox) as client:
        yield sandbox, client


def parts_in(directory: Path) -> int:
    return len(list(directory.glob("*/parts/*")))


def entries_in(directory: Path) -> int:
    return len(list(directory.iterdir()))


def field(name: str, value: bytes) -> bytes:
    return f'--{BOUNDARY}\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n'.encode() + value + b"\r\n"


def form(data: bytes, index: str, *, md5: str | None = None, order: str = "file index hash") -> bytes:
    digest = md5 or hashlib.md5(data).hexdigest()
    values = {"file": data, "index": index.encode(), "hash": digest.encode()}
    return b"".join(field(name, values[name]) for name in order.split()) + f"--{BOUNDARY}--\r\n".encode()


async def create(client: httpx2.AsyncClient, **more: object) -> str:
    answer = await client.post(f"{BASE}/create", json={"title": "A title", "type": "audio", **more})
    assert answer.status_code == 200, answer.text
    media_id: str = answer.json()["data"]["id"]
    return media_id


async def send(client: httpx2.AsyncClient, media_id: str, content_range: str, body: bytes) -> httpx2.Response:
    headers = {"Content-Type": f"multipart/form-data; boundary={BOUNDARY}"}
    if content_range:
        headers["Content-Range"] = content_range
    return await client.post(f"{BASE}/{media_id}/part", content=body, headers=headers)


async def complete(client: httpx2.AsyncClient, media_id: str) -> httpx2.Response:
    return await client.get(f"{BASE}/{media_id}/complete")


async def status_of(client: httpx2.AsyncClient, media_id: str) -> str:
    status: str = (await client.get(f"{BASE}/{media_id}")).json()["data"]["status"]
    return status


def said(answer: httpx2.Response) -> tuple[int, str]:
    assert answer.json()["status"] == ("success" if answer.is_success else "fail")
    return answer.status_code, answer.json()["message"]


def basic(text: str) -> dict[str, str]:
    return {"Authorization": "Basic " + base64.b64encode(text.encode("latin-1")).decode()}


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({}, "You are not logged in."),
        ({"Authorization": "Bearer token"}, "You are not logged in."),
        ({"Authorization": "Basic ?"}, "You are not logged in."),
        (basic("\xff"), "You are not logged in."),
        (basic("wrong:keys"), "API key not found."),
        ({"stream-public-key": PUBLIC_KEY}, "API key not found."),
    ],
)
async def test_wrong_keys_are_refused_in_the_words_of_the_api(
    tmp_path: Path, keys: dict[str, str], message: str
) -> None:
    async with client_of(Sandbox(tmp_path), keys) as client:
        assert said(await client.get(f"{BASE}/some-id")) == (401, message)


async def test_keys_pass_by_http_basic_too(tmp_path: Path) -> None:
    async with client_of(Sandbox(tmp_path), basic(f"{PUBLIC_KEY}:{SECRET_KEY}")) as client:
        assert (await client.get(f"{BASE}/cost")).json()["data"] == {"price": 0, "is_enough": True}


async def test_a_new_media_object_has_what_it_was_given_and_no_links(tmp_path: Path) -> None:
    async with storing(tmp_path) as (sandbox, client):
        media_id = await create(client, tags=["One, TWO", "three"], metadata=[{"key": "k", "value": "v"}])
        shown = (await client.get(f"{BASE}/{media_id}")).json()["data"]
    assert (shown["status"], shown["assets"], shown["tags"]) == ("new", None, ["one", "two", "three"])
    assert shown["metadata"] == [{"key": "k", "value": "v"}]
    assert [(q["name"], q["audio_bitrate"]) for q in shown["qualities"]] == [("standard", 128_000)]
    assert sandbox.media[media_id].create_body["tags"] == ["One, TWO", "three"]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ({}, "Invalid title: Field required."),
        ({"title": ""}, "Invalid title: must be 1 to 255 bytes."),
        ({"title": "é" * 128}, "Invalid title: must be 1 to 255 bytes."),
        ({"title": "t", "type": "video"}, 'Invalid type: must be "audio": the sandbox takes nothing else.'),
        ({"title": "t"}, 'Invalid type: must be "audio": the sandbox takes nothing else.'),
        ({"title": "t", "type": "audio", "description": None}, "Invalid description: Input should be a valid string."),
        ([], "Invalid request body."),
    ],
)
async def test_create_refuses_what_the_api_refuses(tmp_path: Path, body: object, message: str) -> None:
    async with storing(tmp_path) as (_, client):
        assert said(await client.post(f"{BASE}/create", json=body)) == (400, message)


async def test_create_refuses_what_is_not_json(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        assert said(await client.post(f"{BASE}/create", content=b"{")) == (400, "Invalid request body.")


@pytest.mark.parametrize(
    ("quality", "place"),
    [
        ({"resolution": "1080p"}, "qualities.0.resolution"),
        ({"resolution": "good", "type": "dash", "container_type": "mpegts"}, "qualities.0"),
        ({"resolution": "good", "audio_config": {"codec": "mp3"}}, "qualities.0.audio_config.codec"),
        ({"resolution": "good", "audio_config": {"bitrate": "320k"}}, "qualities.0.audio_config.bitrate"),
        ({"resolution": "good", "audio_config": {"channels": 2}}, "qualities.0.audio_config.channels"),
        ({"resolution": "good", "audio_config": {"sample_rate": 12345}}, "qualities.0.audio_config.sample_rate"),
        ({"resolution": "good", "audio_config": {"language": "?"}}, "qualities.0.audio_config.language"),
        ({"resolution": "good", "audio_config": {"index": -1}}, "qualities.0.audio_config.index"),
    ],
)
async def test_create_refuses_an_encoding_that_cannot_be(
    tmp_path: Path, quality: dict[str, object], place: str
) -> None:
    async with storing(tmp_path) as (_, client):
        body = {"title": "t", "type": "audio", "qualities": [quality]}
        status, message = said(await client.post(f"{BASE}/create", json=body))
    assert status == 400
    assert message.startswith(f"Invalid {place}")


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("order", ["file index hash", "hash index file", "index file hash"])
async def test_parts_in_any_order_join_to_the_file(tmp_path: Path, first: int, order: str) -> None:
    data = bytes(range(256)) * 10_000
    starts = list(range(0, len(data), 1_000_000))
    async with storing(tmp_path) as (sandbox, client):
        media_id = await create(client)

        async def part(number: int, start: int) -> None:
            piece = data[start : start + 1_000_000]
            content_range = f"bytes {start}-{start + len(piece) - 1}/{len(data)}"
            answer = await send(client, media_id, content_range, form(piece, str(number + first), order=order))
            assert said(answer) == (200, "Upload part successfully.")

        async with anyio.create_task_group() as tasks:
            for number, start in reversed(list(enumerate(starts))):
                tasks.start_soon(part, number, start)
        assert await status_of(client, media_id) == "uploading"
        assert said(await complete(client, media_id)) == (200, "Upload media complete successfully.")
        assert await to_thread.run_sync(sandbox.received(media_id).read_bytes) == data
        assert await status_of(client, media_id) == "done"
    entries = sandbox.account.entries("part", media_id)
    assert {entry.index for entry in entries} == {number + first for number in range(len(starts))}
    assert sum(entry.size or 0 for entry in entries) == len(data)
    assert parts_in(tmp_path) == 0


async def test_both_addresses_share_their_media(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        shown = await client.get(f"http://sandbox/api/media/{media_id}")
        assert shown.json()["data"]["id"] == media_id


@pytest.mark.parametrize(
    "content_range",
    ["", "bytes 0-3", "bytes=0-3/4", "bytes 0-4/4", "bytes 3-0/4", "bytes 0-2/4", "bytes 0-3/*", "bytes 0-٣/4"],
)
async def test_a_content_range_that_does_not_fit_is_refused(tmp_path: Path, content_range: str) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        body = form(b"data", "0")
        header = {b"Content-Range": content_range.encode()} if content_range else {}
        answer = await client.post(
            f"{BASE}/{media_id}/part",
            content=body,
            headers={b"Content-Type": f"multipart/form-data; boundary={BOUNDARY}".encode(), **header},
        )
    assert said(answer) == (400, "Invalid content range.")
    assert parts_in(tmp_path) == 0


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (form(b"data", "0", md5="0" * 32), "File corrupted."),
        (form(b"data", "0", md5=hashlib.md5(b"data").hexdigest().upper()), "File corrupted."),
        (form(b"data", "-1"), "Invalid index."),
        (form(b"data", "0", order="file hash"), "Invalid index."),
        (form(b"data", "0", order="file index"), "Invalid hash."),
        (form(b"data", "0", order="index hash"), "Invalid file."),
        (form(b"data", "0" * 2000), "Invalid form."),
        (form(b"data", "0")[:-8], "Invalid form."),
        (b"no form at all", "Invalid form."),
        (b"", "Invalid form."),
    ],
)
async def test_a_form_that_makes_no_sense_is_refused_and_leaves_nothing(
    tmp_path: Path, body: bytes, message: str
) -> None:
    async with storing(tmp_path) as (sandbox, client):
        media_id = await create(client)
        assert said(await send(client, media_id, "bytes 0-3/4", body)) == (400, message)
    assert sandbox.account.entries("part")[0].outcome == message
    assert parts_in(tmp_path) == 0


async def test_a_part_that_is_no_form_is_refused(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        headers = {"Content-Range": "bytes 0-3/4", "Content-Type": "application/json"}
        answer = await client.post(f"{BASE}/{media_id}/part", content=b"{}", headers=headers)
    assert said(answer) == (400, "Invalid form.")


async def test_headers_of_a_field_that_say_nothing_of_its_name_are_passed_over(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        nameless = f"--{BOUNDARY}\r\nContent-Type: text/plain\r\n\r\nnothing\r\n".encode()
        answer = await send(client, media_id, "bytes 0-3/4", nameless + form(b"data", "0"))
    assert said(answer) == (200, "Upload part successfully.")


async def test_a_part_sent_again_is_already_there(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        again = await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        assert said(again) == (400, "Part is already uploaded.")
        assert said(await complete(client, media_id))[0] == 200


async def test_other_bytes_under_an_index_are_taken_and_break_the_media(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/8", form(b"data", "0"))
        assert said(await send(client, media_id, "bytes 4-7/8", form(b"more", "0")))[0] == 200
        assert said(await complete(client, media_id)) == (400, "Invalid media size")
        assert await status_of(client, media_id) == "fail"


@pytest.mark.parametrize("sent", [[], ["bytes 0-3/8"], ["bytes 4-7/8"]])
async def test_complete_while_bytes_are_missing_fails_the_media(tmp_path: Path, sent: list[str]) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        for content_range in sent:
            await send(client, media_id, content_range, form(b"data", "0"))
        assert said(await complete(client, media_id)) == (400, "Invalid media size")
        assert await status_of(client, media_id) == "fail"
        late = await send(client, media_id, "bytes 0-3/8", form(b"late", "1"))
    assert said(late) == (400, "Invalid media status.")


async def test_a_part_of_a_file_of_another_size_is_refused(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/8", form(b"data", "0"))
        other = await send(client, media_id, "bytes 4-7/9", form(b"more", "1"))
    assert said(other) == (400, "Invalid content range.")


async def test_a_second_complete_breaks_what_was_healthy(tmp_path: Path) -> None:
    async with storing(tmp_path) as (sandbox, client):
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        await complete(client, media_id)
        assert said(await complete(client, media_id)) == (400, "Invalid media status.")
        assert await status_of(client, media_id) == "fail"
    assert sandbox.account.count("complete", media_id) == 2


async def test_a_deleted_media_object_takes_nothing_more(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        media_id = await create(client)
        assert said(await client.delete(f"{BASE}/{media_id}")) == (200, "Delete media successfully.")
        part = await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        assert said(part) == (400, "Media is deleted.")
        assert said(await complete(client, media_id)) == (400, "Media is deleted.")
        assert await status_of(client, media_id) == "deleted"
    assert entries_in(tmp_path) == 0


async def test_an_unknown_id_is_not_found(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        assert said(await client.get(f"{BASE}/nothing")) == (404, "Media not found.")
        assert said(await send(client, "nothing", "bytes 0-3/4", form(b"data", "0"))) == (404, "Media not found.")


async def test_what_has_no_route_is_answered_in_the_apis_own_way(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        assert said(await client.get("http://sandbox/elsewhere")) == (404, "Not Found")
        assert said(await client.post(f"{BASE}/cost"))[0] == 405


async def test_the_list_is_searched_and_paged_the_newest_first(tmp_path: Path) -> None:
    async with storing(tmp_path) as (_, client):
        ids = [await create(client, title=title) for title in ("Alpha one", "Beta", "alpha two")]
        found = (await client.post(BASE, json={"search": "ALPHA"})).json()["data"]
        page = (await client.post(BASE, json={"limit": 1, "offset": 1})).json()["data"]
        videos = (await client.post(BASE, json={"type": "video"})).json()["data"]
        whole = (await client.post(BASE)).json()["data"]
    assert [media["id"] for media in found["media"]] == [ids[2], ids[0]]
    assert ([media["id"] for media in page["media"]], page["total"]) == ([ids[1]], 3)
    assert videos == {"media": [], "total": 0}
    assert whole["total"] == 3


@pytest.mark.parametrize("body", [b"{", b"[]", b'{"limit": -1}', b'{"offset": true}'])
async def test_a_list_that_makes_no_sense_is_refused(tmp_path: Path, body: bytes) -> None:
    async with storing(tmp_path) as (_, client):
        assert said(await client.post(BASE, content=body))[0] == 400


async def test_without_transcoding_the_links_are_there_at_once(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False, base_url="https://stream.example")
    async with client_of(sandbox) as client:
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        await complete(client, media_id)
        assets = (await client.get(f"{BASE}/{media_id}")).json()["data"]["assets"]
    assert assets["hls_url"] == f"https://stream.example/vod/{media_id}/hls/master.m3u8"
    assert (assets["dash_url"], assets["dash_iframe"], assets["mp4_url"]) == ("", "", "")


async def test_complete_says_so_where_the_sandbox_does_not_run(tmp_path: Path) -> None:
    async with client_of(Sandbox(tmp_path)) as client:
        media_id = await create(client)
        await send(client, media_id, "bytes 0-3/4", form(b"data", "0"))
        with pytest.raises(RuntimeError, match="not running"):
            await complete(client, media_id)


async def test_a_slow_line_still_carries_every_byte(tmp_path: Path) -> None:
    sandbox = Sandbox(tmp_path, transcode=False, line=Line(latency=0.001, bytes_per_second=10_000_000))
    async with client_of(sandbox) as client:
        media_id = await create(client)
        with anyio.fail_after(90):
            answer = await send(client, media_id, "bytes 0-99999/100000", form(b"x" * 100_000, "0"))
    assert said(answer)[0] == 200
    assert sandbox.account.entries("part")[0].size == 100_000
