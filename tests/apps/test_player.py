"""The player in headless Chromium, inside a host that speaks MCP Apps to the real server, in front of the sandbox."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

import anyio
import pytest
from playwright.async_api import async_playwright

from aioz_stream_audio.foreign_text import harmless
from aioz_stream_audio.sandbox import Line, Sandbox, serve
from aioz_stream_audio.sandbox.faults import raw, stall, status
from audio_files import make_large_audio
from conversation import HEARD, conversation, detail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from playwright.async_api import Browser

    from conversation import Conversation

pytestmark = pytest.mark.anyio

SPEECH = Path(__file__).parents[2] / "samples" / "speech.mp3"

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
# Nothing of Chromium's own goes out, and it runs as root too: all that it shows is this project's own.
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

AXE = Path(__file__).parents[2] / ".cache" / "test-apps" / "node_modules" / "axe-core" / "axe.min.js"
VIOLATIONS = """axe.run().then(({ violations }) => violations.map(
  ({ id, nodes }) => [id, nodes.map(({ html, failureSummary }) => `${html}: ${failureSummary}`)]))"""
# Where pictures of the states are put, if anywhere.
SCREENSHOTS = os.environ.get("SCREENSHOTS")

TITLE = "Episode 12: The long way home"
MIB = 1024 * 1024
NO_HLS = "HTMLMediaElement.prototype.canPlayType = () => '';"

WATCH_POLICY = """globalThis.violated = [];
document.addEventListener("securitypolicyviolation", (event) => violated.push(event.effectiveDirective));"""
LOAD_FROM = """async (origin) => {
  const add = (name, attributes) => document.body.append(Object.assign(document.createElement(name), attributes));
  add("script", { src: `${origin}/a.js` });
  add("link", { rel: "stylesheet", href: `${origin}/a.css` });
  add("img", { src: `${origin}/a.png` });
  add("iframe", { src: `${origin}/a.html` });
  await fetch(`${origin}/a.json`).catch(() => undefined);
  while (new Set(violated).size < 5) await new Promise(requestAnimationFrame);
  return [...new Set(violated)].sort();
}"""
LOUDEST = """async () => {
  const audio = document.getElementById("audio");
  const context = new AudioContext();
  await context.resume();
  const analyser = new AnalyserNode(context);
  new MediaElementAudioSourceNode(context, { mediaElement: audio }).connect(analyser).connect(context.destination);
  const samples = new Float32Array(analyser.fftSize);
  let loudest = 0;
  while (audio.currentTime < 1.5) {
    await new Promise(requestAnimationFrame);
    analyser.getFloatTimeDomainData(samples);
    loudest = Math.max(loudest, ...samples.map(Math.abs));
  }
  return loudest;
}"""


@pytest.fixture(scope="module")
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="module")
async def browser() -> AsyncIterator[Browser]:
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        await browser.close()


@pytest.fixture
async def host(browser: Browser, url: str, tmp_path: Path) -> AsyncIterator[Conversation]:
    async with conversation(browser, url, tmp_path / "state") as begun:
        yield begun


async def completed(host: Conversation, path: Path, title: str = "My Podcast") -> str:
    audio_id: str = (await host.call("create_audio", title=title))["audio_id"]
    await host.call("upload_audio_file", audio_id=audio_id, path=str(path))
    await host.call("complete_upload", audio_id=audio_id)
    return audio_id


async def ready(host: Conversation, path: Path, title: str = "My Podcast") -> str:
    audio_id = await completed(host, path, title)
    assert (await host.call("get_audio_link", audio_id=audio_id, wait_seconds=40))["ready"]
    return audio_id


async def test_an_audio_turns_from_transcoding_to_ready_by_itself_and_is_heard(
    host: Conversation, sandbox: Sandbox
) -> None:
    audio_id = await ready(host, SPEECH)
    media = sandbox.media[audio_id]
    media.status = media.qualities[0].status = "transcoding"

    frame = await host.show("get_audio_link", audio_id=audio_id)
    await host.says("Transcoding. This updates by itself.")
    assert await frame.text_content("#title") == "My Podcast"
    assert not await frame.is_visible("#play")

    media.status = media.qualities[0].status = "done"
    await host.says("Ready to play.")
    await frame.click("#play")
    assert await frame.evaluate(LOUDEST) > 0.05
    assert await frame.get_attribute("#play", "aria-pressed") == "true"
    assert await frame.text_content("#position") == "0:01"
    assert {request["name"] for request in await host.asked("tools/call")} == {"get_audio_link"}
    assert host.problems == []


async def published(host: Conversation) -> str:
    """Make an audio as a user would, of half a minute and in two qualities."""
    path = make_large_audio(host.folder / "episode.wav", 6 * MIB)
    qualities = [{"resolution": "standard"}, {"resolution": "highest"}]
    audio_id: str = (await host.call("create_audio", title=TITLE, qualities=qualities))["audio_id"]
    await host.call("upload_audio_file", audio_id=audio_id, path=str(path))
    await host.call("complete_upload", audio_id=audio_id)
    assert (await host.call("get_audio_link", audio_id=audio_id, wait_seconds=55))["ready"]
    return audio_id


async def transcoding(host: Conversation, sandbox: Sandbox) -> None:
    audio_id = await published(host)
    media = sandbox.media[audio_id]
    media.status = media.qualities[0].status = media.qualities[1].status = "transcoding"
    await host.show("get_audio_link", audio_id=audio_id)
    await host.says("Transcoding.")


async def playing(host: Conversation, _: Sandbox) -> None:
    frame = await host.show("get_audio_link", audio_id=await published(host))
    await host.says("Ready to play.")
    await frame.click("#play")
    await frame.fill("#seek", "12")
    await frame.wait_for_function("() => document.getElementById('position').textContent === '0:13'")


async def unplayable(host: Conversation, _: Sandbox) -> None:
    await host.show("get_audio_link", script=NO_HLS, audio_id=await ready(host, SPEECH, TITLE))
    await host.says("It cannot be played here. Open the player instead.")


async def uploading(host: Conversation, _: Sandbox) -> None:
    audio_id = (await host.call("create_audio", title=TITLE))["audio_id"]
    path = make_large_audio(host.folder / "the-long-way-home.wav", 64 * MIB)
    frame = await host.show("upload_audio_file", audio_id=audio_id, path=str(path), wait_seconds=0)
    await host.says("Uploading.")
    await frame.wait_for_function("() => document.getElementById('bar').value > 24e6")


async def uploaded(host: Conversation, _: Sandbox) -> None:
    audio_id = (await host.call("create_audio", title=TITLE))["audio_id"]
    path = make_large_audio(host.folder / "the-long-way-home.wav", 64 * MIB)
    await host.show("upload_audio_file", audio_id=audio_id, path=str(path))
    await host.says("Uploaded.")


async def failed(host: Conversation, sandbox: Sandbox) -> None:
    audio_id = await ready(host, SPEECH, TITLE)
    sandbox.media[audio_id].status = "fail"
    await host.show("get_audio_link", audio_id=audio_id)
    await host.says("could not make a stream of it")


async def refused(host: Conversation, sandbox: Sandbox) -> None:
    sandbox.faults.add("detail", status(401, "You are not logged in."))
    await host.show("get_audio_link", audio_id="an-id")
    await host.says("You are not logged in.")


STATES = [transcoding, playing, unplayable, uploading, uploaded, failed, refused]


@pytest.mark.parametrize("state", STATES)
async def test_every_state_is_accessible_in_light_and_dark(
    state: Callable[[Conversation, Sandbox], Awaitable[None]], browser: Browser, tmp_path: Path
) -> None:
    folder = tmp_path / "sandbox"
    folder.mkdir()
    line = Line(bytes_per_second=3_000_000) if state is uploading else None
    async with (
        Sandbox(folder, line=line) as sandbox,
        serve(sandbox) as url,
        conversation(browser, url, tmp_path, AIOZ_STREAM_PARALLEL_PARTS="2") as host,
    ):
        await state(host, sandbox)
        for theme in ("light", "dark"):
            await host.turn(theme)
            assert await host.frame.evaluate(f"{AXE.read_text('utf-8')}; {VIOLATIONS}") == []
            await host.picture(SCREENSHOTS, f"{state.__name__}-{theme}.png")
        assert host.problems == []


@pytest.mark.parametrize("width", [320, 1200])
async def test_a_hostile_title_and_hostile_names_and_links_only_show(
    host: Conversation, sandbox: Sandbox, width: int
) -> None:
    title = f'<img src=x onerror="alert(1)">\u202e\u2067{"👩‍🚀" * 18}'
    assert 220 < len(title.encode()) <= 255
    name = "<svg onload=alert(2)>" * 20
    answer = detail(
        title=title,
        status="\u202e<script>alert(3)</script>",
        qualities=[{"name": name, "type": "<b>hls</b>", "status": "<i>", "audio_bitrate": 1}],
        assets={"hls_url": "javascript:alert(4)", "hls_player_url": "javascript:alert(5)"},
    )
    sandbox.faults.add("detail", raw(200, "application/json", answer), times=50)
    frame = await host.show("get_audio_link", width=width, audio_id="an-id")
    # The server takes out marks that turn text round, and cuts what is long; what is left of it only shows.
    await host.says("Not ready yet; its status is <script>alert(3)</script>. This updates by itself.")
    assert await frame.text_content("#title") == harmless(title)
    assert await frame.text_content("#said bdi") == "<script>alert(3)</script>"
    assert (await frame.text_content("#qualities") or "").startswith(harmless(name))
    assert await frame.evaluate("getComputedStyle(document.getElementById('title')).unicodeBidi") == "isolate"
    assert await frame.locator("img, b, i, script[src], main svg[onload]").count() == 0
    assert not await frame.is_visible("#links")
    assert await frame.get_attribute("#open", "href") is None
    assert await frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert host.problems == []


async def test_a_hostile_message_only_shows(host: Conversation, sandbox: Sandbox) -> None:
    sandbox.faults.add("detail", status(400, "<img src=x onerror=alert(1)>\u202e"))
    frame = await host.show("get_audio_link", audio_id="an-id")
    await host.says("<img src=x onerror=alert(1)>")
    assert await frame.locator("img").count() == 0
    assert host.problems == []


async def test_media_of_an_origin_that_was_not_asked_for_is_blocked_and_the_player_offered(
    host: Conversation, sandbox: Sandbox
) -> None:
    link = "https://elsewhere.example/player?token=1"
    answer = detail(status="done", assets={"hls_url": "https://elsewhere.example/a.m3u8", "hls_player_url": link})
    sandbox.faults.add("detail", raw(200, "application/json", answer))
    frame = await host.show("get_audio_link", script=WATCH_POLICY, audio_id="an-id")
    await host.says("It cannot be played here. Open the player instead.")
    assert not await frame.is_visible("#play")
    assert await frame.evaluate("violated") == ["media-src"]
    await frame.click("#open")
    await host.page.wait_for_function("() => host.opened.length > 0")
    assert await host.page.evaluate("host.opened") == [link]


async def test_what_there_is_as_dash_only_is_left_to_the_player(host: Conversation, sandbox: Sandbox) -> None:
    origin = host.app.ui["csp"]["resourceDomains"][0]
    assets = {"dash_url": f"{origin}/a.mpd", "dash_player_url": f"{origin}/player"}
    sandbox.faults.add("detail", raw(200, "application/json", detail(status="done", assets=assets)))
    frame = await host.show("get_audio_link", audio_id="an-id")
    await host.says("It cannot be played here. Open the player instead.")
    assert await frame.input_value("#link") == assets["dash_url"]
    assert await frame.get_attribute("#open", "href") == assets["dash_player_url"]


async def test_the_policy_stops_every_script_style_frame_and_request_of_others(host: Conversation) -> None:
    frame = await host.show("get_audio_link", script=WATCH_POLICY, audio_id=await ready(host, SPEECH))
    await host.says("Ready to play.")
    violated = await frame.evaluate(LOAD_FROM, host.app.ui["csp"]["resourceDomains"][0])
    assert violated == ["connect-src", "frame-src", "img-src", "script-src-elem", "style-src-elem"]


async def test_the_link_is_copied_where_the_host_grants_no_clipboard(host: Conversation) -> None:
    audio_id = await ready(host, SPEECH)
    frame = await host.show("get_audio_link", audio_id=audio_id)
    await host.says("Ready to play.")
    await frame.click("#copy")
    await frame.wait_for_function("() => document.getElementById('aside').textContent === 'Link copied.'")
    link = (await host.call("get_audio_link", audio_id=audio_id))["hls_url"]
    await host.page.focus("body")
    assert await host.page.evaluate("focus(), navigator.clipboard.readText()") == link


async def test_everything_is_done_by_keyboard(host: Conversation) -> None:
    frame = await host.show("get_audio_link", audio_id=await ready(host, SPEECH))
    await host.says("Ready to play.")
    keyboard = host.page.keyboard
    order = []
    for _ in range(5):
        await keyboard.press("Tab")
        order.append(await frame.evaluate("document.activeElement.id"))
    assert order == ["play", "seek", "link", "copy", "open"]
    await frame.focus("#play")
    await keyboard.press("Space")
    await frame.wait_for_function("() => audio.currentTime > 0.2")
    await keyboard.press("Space")
    await frame.wait_for_function("() => audio.paused")
    await frame.focus("#seek")
    await keyboard.press("ArrowRight")
    await frame.wait_for_function("() => audio.currentTime >= 5")
    assert (await frame.get_attribute("#seek", "aria-valuetext") or "").startswith("0:05 of 0:05")
    await keyboard.press("ArrowLeft")
    await frame.wait_for_function("() => audio.currentTime < 1")


async def test_an_upload_is_followed_while_the_tool_runs_and_the_app_calls_no_tool(
    browser: Browser, tmp_path: Path
) -> None:
    path = make_large_audio(tmp_path / "large.wav", 64 * MIB)
    (tmp_path / "sandbox").mkdir()
    async with (
        Sandbox(tmp_path / "sandbox", line=Line(bytes_per_second=8_000_000)) as sandbox,
        serve(sandbox) as url,
        conversation(browser, url, tmp_path, AIOZ_STREAM_PARALLEL_PARTS="2") as host,
    ):
        audio_id = (await host.call("create_audio", title="t"))["audio_id"]
        frame = await host.show("upload_audio_file", audio_id=audio_id, path=str(path))
        assert await frame.text_content("#title") == "large.wav"
        await frame.wait_for_function("() => document.getElementById('bar').value > 1e6")
        assert await frame.evaluate("shown.upload.state") == "uploading"
        await host.says("Uploaded.")
        assert await frame.text_content("#amount") == "100 % · 67.1 MB of 67.1 MB · 8 of 8 parts"
        assert await host.asked("tools/call") == []
        assert {request["uri"] for request in await host.asked("resources/read")} == {
            f"aioz-stream://uploads/{audio_id}"
        }


async def test_an_upload_that_fails_while_it_is_followed_says_why(browser: Browser, tmp_path: Path) -> None:
    path = make_large_audio(tmp_path / "large.wav", 64 * MIB)
    (tmp_path / "sandbox").mkdir()
    async with (
        Sandbox(tmp_path / "sandbox", line=Line(bytes_per_second=8_000_000)) as sandbox,
        serve(sandbox) as url,
        conversation(browser, url, tmp_path, AIOZ_STREAM_PART_SIZE_MIB="4") as host,
    ):
        sandbox.faults.add("part", status(400, "Invalid content range."), start=20 * MIB)
        audio_id = (await host.call("create_audio", title="t"))["audio_id"]
        await host.show("upload_audio_file", audio_id=audio_id, path=str(path), wait_seconds=0)
        await host.says("Invalid content range.")


async def test_a_host_that_calls_no_tools_for_an_app_is_not_asked_to(host: Conversation, sandbox: Sandbox) -> None:
    answer = detail(status="transcoding")
    sandbox.faults.add("detail", raw(200, "application/json", answer))
    await host.show("get_audio_link", capabilities={}, audio_id="an-id")
    await host.says("Transcoding. Ask for the link again in a while.")
    assert await host.asked("tools/call") == []


async def test_what_failed_is_tried_again_when_asked(host: Conversation, sandbox: Sandbox) -> None:
    audio_id = await ready(host, SPEECH)
    sandbox.faults.add("detail", status(401, "You are not logged in."))
    frame = await host.show("get_audio_link", audio_id=audio_id)
    await host.says("You are not logged in.")
    await frame.click("#again")
    await host.says("Ready to play.")
    assert not await frame.is_visible("#again")


async def test_a_call_that_is_cancelled_says_what_became_of_the_upload(host: Conversation, sandbox: Sandbox) -> None:
    released = anyio.Event()
    sandbox.faults.add("part", stall(until=released))
    audio_id = (await host.call("create_audio", title="t"))["audio_id"]
    await host.show("upload_audio_file", audio_id=audio_id, path=str(SPEECH))
    await host.page.evaluate("host.notify('ui/notifications/tool-cancelled', { reason: 'the user' })")
    await host.says("Cancelled. What arrived is kept; upload it again to go on.")
    released.set()


async def test_the_app_takes_on_the_colours_of_its_host(host: Conversation, sandbox: Sandbox) -> None:
    sandbox.faults.add("detail", status(401))
    frame = await host.show(
        "get_audio_link", audio_id="an-id", variables={"--color-background-primary": "rgb(18, 52, 86)", "color": "red"}
    )
    assert await frame.evaluate("getComputedStyle(document.body).backgroundColor") == "rgb(18, 52, 86)"
    assert await frame.evaluate("document.documentElement.style.color") == ""


@pytest.mark.parametrize("kind", ["hls", "dash"])
async def test_the_sandbox_shows_the_same_page_alone_which_turns_ready_by_itself_and_plays(
    host: Conversation, browser: Browser, sandbox: Sandbox, kind: str
) -> None:
    audio_id = (await host.call("create_audio", title="Alone", qualities=[{"resolution": "standard", "type": kind}]))[
        "audio_id"
    ]
    await host.call("upload_audio_file", audio_id=audio_id, path=str(SPEECH))
    await host.call("complete_upload", audio_id=audio_id)
    link = await host.call("get_audio_link", audio_id=audio_id, wait_seconds=40)
    media = sandbox.media[audio_id]
    media.status = media.qualities[0].status = "transcoding"

    context = await browser.new_context()
    page = await context.new_page()
    await page.add_init_script(HEARD)
    await page.goto(link[f"{kind}_player_url"])
    await page.wait_for_selector("text=Transcoding. This updates by itself.")
    media.status = media.qualities[0].status = "done"
    await page.wait_for_selector("text=Ready to play.")
    await page.click("#play")
    assert await page.evaluate(LOUDEST) > 0.05
    assert await page.title() == "Alone"
    await context.close()
