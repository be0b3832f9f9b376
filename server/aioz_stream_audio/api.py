"""AIOZ Stream's API: one method per endpoint, and the reading of what comes back.

Nothing here is sent twice; what may be repeated, and when, is decided by whoever calls.
"""

from __future__ import annotations

import json
import math
import re
import ssl
from contextlib import aclosing
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit
from urllib.request import getproxies

import httpx2
from pydantic import ValidationError

from . import __version__
from .errors import (
    AnswerError,
    AudioNotFoundError,
    KeysNotAllowedError,
    KeysRefusedError,
    NoAnswerError,
    NotConnectedError,
    SettingsError,
    StatusError,
)
from .foreign_text import TEXT_MAX_LENGTH, harmless, is_link
from .models import Media
from .settings import APP_NAME, PRODUCTION_URL, W3STREAM_URL, is_loopback

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Mapping

    from .models import CreateAudio
    from .settings import Keys

CONNECT_TIMEOUT = 10.0
"""Seconds to reach the API, name look-up and TLS included."""
SILENCE_TIMEOUT = 60.0
"""Seconds after which a call has failed if nothing came, or the line did not take what it was given last. There is no
limit on the whole of one."""
READ_SILENCE_TIMEOUT = 15.0
"""The same for reading an audio object, which is answered at once or hardly ever, and may be done again."""
ANSWER_MAX_BYTES = 1024 * 1024

_KEY_MIN_LENGTH = 8

TOO_MANY_UPLOADS = "Too many concurrent media uploading."
"""What AIOZ Stream says where a call is to be repeated once other uploads of the account have ended."""

# What AIOZ Stream answers to a part that it has, byte for byte: news of success that was lost on the way.
_PART_ALREADY_THERE = "Part is already uploaded."

_DELETED = "Media is deleted."
_GONE = (
    "There is no such audio object under these keys; one that was not completed is deleted after 24 hours. Start over "
    "with a new one."
)

# What to do about a refusal whose status alone does not tell.
_REMEDIES = {
    "Invalid audio channel.": 'The file has fewer channels than were asked for: start over with channels "1".',
    "Invalid media type.": "AIOZ Stream does not take this kind of file: convert it, to MP3 or FLAC, and start over.",
    "Not enough balance, media deleted.": "Tell the user to add to the account's balance, then start over.",
    TOO_MANY_UPLOADS: "Wait for other uploads of this account to end, then try again.",
}

_NOT_DONE = {
    "create": "No audio object was created.",
    "part": "That part was not stored.",
    "complete": "Transcoding was not started by this call.",
    "detail": "Nothing was changed.",
}
_PERHAPS_DONE = {
    "create": "An empty audio object may have been created, which is deleted after 24 hours: another try does no harm.",
    "part": "The part may have been stored; sending it again is safe.",
    "complete": "It is not known whether transcoding started; look at the audio's status before anything else.",
    "detail": "Nothing was changed.",
}


class PartForm(Protocol):
    """A part as a multipart form: its headers (``Content-Type``, ``-Length`` and ``-Range``), and its bytes once."""

    @property
    def headers(self) -> Mapping[str, str]:
        """Give the headers that describe the form."""

    def __aiter__(self) -> AsyncIterator[bytes]:
        """Iterate over the form's bytes."""


def open_client() -> httpx2.AsyncClient:
    """Make the HTTP client that every call of a process shares. Close it, or use it as an async context.

    It trusts the operating system's certificates or those that ``SSL_CERT_FILE`` names, takes proxies from the
    environment, and follows no redirect, because the keys would follow it. What is not encrypted, which is for this
    machine alone, goes through no proxy on another one.

    Raises:
        SettingsError: the certificates or the proxy that the environment names cannot be used.
    """
    try:
        return httpx2.AsyncClient(
            mounts=_direct_in_clear(getproxies()),
            headers={"User-Agent": f"{APP_NAME}/{__version__}", "Accept": "application/json"},
            timeout=httpx2.Timeout(SILENCE_TIMEOUT, connect=CONNECT_TIMEOUT, pool=None),
            limits=httpx2.Limits(max_connections=None, max_keepalive_connections=None, keepalive_expiry=30.0),
            follow_redirects=False,
        )
    except OSError as error:
        raise SettingsError(
            f"SSL_CERT_FILE must be a file of certificates in PEM ({reason(error)}); nothing was sent.",
            variable="SSL_CERT_FILE",
        ) from None
    except (ValueError, ImportError, httpx2.InvalidURL):
        # Not with the library's words: a proxy's address may hold a password.
        raise SettingsError(
            "HTTPS_PROXY must be the address of an HTTP proxy, such as http://proxy.example.org:3128, and so must "
            "HTTP_PROXY and ALL_PROXY where they are set; nothing was sent.",
            variable="HTTPS_PROXY",
        ) from None


def _direct_in_clear(proxies: Mapping[str, str]) -> dict[str, None]:
    """Give the addresses that no proxy is asked for: those of ``http:``, unless their proxy is on this machine as well.

    Raises:
        ValueError: a proxy's address is none.
    """
    hosts = {scheme: _proxy_host(proxies[scheme]) for scheme in ("http", "https", "all") if proxies.get(scheme)}
    return {} if is_loopback(hosts.get("http", hosts.get("all", ""))) else {"http://": None}


def _proxy_host(address: str) -> str:
    url = urlsplit(address if "://" in address else f"http://{address}")
    # Reading the port checks it; the HTTP client finds out only when it connects.
    if not url.hostname or url.port == 0:
        raise ValueError("not an address")
    return url.hostname


class AiozStream:
    """The API at one address, with one user's keys.

    Every method raises an `ApiError`: `NotConnectedError` when nothing arrived, `NoAnswerError` or `AnswerError` when
    it is not known what was done, `StatusError` when AIOZ Stream said no.
    """

    def __init__(self, client: httpx2.AsyncClient, api_url: str, keys: Keys) -> None:
        self._client = client
        self._keys = keys
        self.api_url = api_url
        self.host = httpx2.URL(api_url).host

    async def create(self, audio: CreateAudio) -> Media:
        """Create an audio object that waits for its parts."""
        return self._media("create", await self._call("create", "POST", "/create", json=audio.body()))

    async def send_part(self, audio_id: str, form: PartForm) -> None:
        """Send one part. That AIOZ Stream has it already, with the same hash, is success."""
        try:
            await self._call("part", "POST", f"/{audio_id}/part", headers=form.headers, content=form)
        except StatusError as error:
            if error.api_message != _PART_ALREADY_THERE:
                raise

    async def complete(self, audio_id: str, *, leaving: Callable[[], None] = lambda: None) -> None:
        """Say that every part is there, which starts transcoding. A second call can spoil a healthy audio object.

        ``leaving`` is called just before the request is sent; until then, a call that is cancelled has done nothing.
        """

        async def trace(event: str, _: object) -> None:
            if event.endswith("send_request_headers.started"):
                leaving()

        await self._call("complete", "GET", f"/{audio_id}/complete", extensions={"trace": trace})

    async def detail(self, audio_id: str) -> Media:
        """Read the audio object: its status, its qualities and its links."""
        silence = min(READ_SILENCE_TIMEOUT, self._client.timeout.read or math.inf)
        timeout = httpx2.Timeout(silence, connect=CONNECT_TIMEOUT, pool=None)
        return self._media("detail", await self._call("detail", "GET", f"/{audio_id}", timeout=timeout))

    async def _call(self, call: str, method: str, path: str, **body: Any) -> dict[str, Any]:  # noqa: ANN401 - httpx2's own keywords
        headers = {**body.pop("headers", {}), **self._keys.headers()}
        request = self._client.build_request(method, self.api_url + path, headers=headers, **body)
        try:
            response = await self._client.send(request, stream=True)
            async with aclosing(response):
                content = await self._read(call, response)
        except (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.ProxyError, httpx2.UnsupportedProtocol) as error:
            raise NotConnectedError(
                f"{self.host} could not be reached ({reason(error)}). {_NOT_DONE[call]} Check the network; try again.",
                call=call,
                host=self.host,
            ) from error
        except httpx2.DecodingError as error:
            raise self._nonsense(call, "an answer whose compression is broken") from error
        except (httpx2.TransportError, ssl.SSLError) as error:
            # The HTTP library lets what goes wrong with TLS after the connection was made pass as it is.
            raise NoAnswerError(
                f"The connection to {self.host} broke before an answer came ({reason(error)}). {_PERHAPS_DONE[call]}",
                call=call,
                host=self.host,
            ) from error
        return self._answer(call, response, content)

    async def _read(self, call: str, response: httpx2.Response) -> bytes:
        """Read an answer, and refuse one larger than any that the API gives."""
        content = bytearray()
        async for chunk in response.aiter_bytes():
            content += chunk
            if len(content) > ANSWER_MAX_BYTES:
                raise self._nonsense(call, f"an answer larger than {ANSWER_MAX_BYTES // 1024**2} MiB")
        return bytes(content)

    def _answer(self, call: str, response: httpx2.Response, content: bytes) -> dict[str, Any]:
        answer = _json_object(content)
        if not response.is_success:
            raise self._refusal(call, response, self._said(answer))
        if answer is None:
            raise self._nonsense(call, "an empty answer" if not content else "an answer that is not a JSON object")
        match answer.get("status"):
            case "success":
                return answer
            case "fail" | "error":
                raise self._refusal(call, response, self._said(answer))
            case _:
                raise self._nonsense(call, 'an answer without "status": "success"')

    def _without_keys(self, text: str) -> str:
        """Take out what an answer repeats of the keys; one too short to be a key may stand there for another reason."""
        for key in self._keys.headers().values():
            text = text.replace(key, "[key]") if len(key) >= _KEY_MIN_LENGTH else text
        return text

    def _said(self, answer: dict[str, Any] | None) -> str:
        message = (answer or {}).get("message")
        return self._without_keys(harmless(message)) if isinstance(message, str) else ""

    def _media(self, call: str, answer: dict[str, Any]) -> Media:
        try:
            return Media.model_validate(answer.get("data"))
        except ValidationError as error:
            raise self._nonsense(call, "an answer without an audio object") from error

    def _nonsense(self, call: str, what: str) -> AnswerError:
        return AnswerError(
            f"{self.host} gave {what}, so it may not be AIOZ Stream that answered. {_PERHAPS_DONE[call]}",
            call=call,
            host=self.host,
        )

    def _refusal(self, call: str, response: httpx2.Response, said: str) -> StatusError:
        status = response.status_code
        kind, advice = (AudioNotFoundError, _GONE) if said == _DELETED else self._advice(call, status, response)
        advice = _REMEDIES.get(said, advice)
        # With no quotation mark in it, it cannot end the quotation and go on in our words.
        quoted = ': "{}"'.format(said.replace('"', "'")) if said else ""
        stop = "" if said.endswith((".", "!", "?")) else "."
        done = _PERHAPS_DONE if tells_nothing(status) else _NOT_DONE
        undone = "" if kind is AudioNotFoundError else f"{done[call]} "
        return kind(
            f"{self.host} refused the {call} call with status {status}{quoted}{stop} {undone}{advice}",
            call=call,
            host=self.host,
            status=status,
            api_message=said,
            retry_after=_retry_after(response) if status in {429, 503} else None,
        )

    def _advice(self, call: str, status: int, response: httpx2.Response) -> tuple[type[StatusError], str]:
        """Give the error for a status, and what to do about it."""
        if response.is_redirect:
            location = self._without_keys(response.headers.get("location", ""))
            where = location if is_link(location) and len(location) <= TEXT_MAX_LENGTH else "another address"
            return StatusError, (
                f"It points to {where}, which is not followed, because the keys would go there too; "
                "if that is where AIOZ Stream lives now, set AIOZ_STREAM_API_URL to it."
            )
        seconds = _retry_after(response)
        wait = "a minute" if seconds is None else f"{math.ceil(seconds)} s"
        match status:
            case 401:
                other = PRODUCTION_URL if self.api_url != PRODUCTION_URL else W3STREAM_URL
                return KeysRefusedError, (
                    "Check both keys. Keys belong to one address of the API: if these are from the "
                    f"other one, set AIOZ_STREAM_API_URL to {other}."
                )
            case 403:
                return KeysNotAllowedError, "These keys may not do this; use keys with full access."
            case 404:
                return AudioNotFoundError, _GONE
            case 429:
                return StatusError, f"There were too many calls; wait {wait}, then try again."
            case _ if tells_nothing(status):
                return StatusError, f"The fault is at AIOZ Stream; wait {wait}, then try again."
            case _ if call == "complete":
                return StatusError, "It is asked for once only: mend what it names, then start over with a new audio."
            case _:
                return StatusError, "Correct what it names, then try again."


def tells_nothing(status: int) -> bool:
    """Whether a status leaves open what was done: a time-out, or a fault of the server or of a proxy before it."""
    return status == 408 or status >= 500  # noqa: PLR2004 - RFC 9110, sections 15.5.9 and 15.6


def reason(error: Exception) -> str:
    """Give the cause of a transport error in a few words; the library's text names it best where there is one."""
    # Of an answer that is not HTTP, the library's text ends in what came instead.
    words, _, _ = str(error).partition(": bytearray(")
    return harmless(words) or type(error).__name__


def _json_object(content: bytes) -> dict[str, Any] | None:
    try:
        answer = json.loads(content)
    except (ValueError, RecursionError):
        return None
    return answer if isinstance(answer, dict) else None


def _retry_after(response: httpx2.Response) -> float | None:
    """Read how many seconds to wait: a number, or a date (RFC 9110, section 10.2.3)."""
    for name in ("retry-after", "x-ratelimit-retry-after"):
        value = response.headers.get(name, "")
        # More digits than this are no number of seconds that anybody means.
        if re.fullmatch(r"[0-9]{1,9}(\.[0-9]+)?", value):
            return float(value)
        try:
            then = parsedate_to_datetime(value)
        except (ValueError, OverflowError):
            continue
        return max(0.0, (then.replace(tzinfo=then.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
    return None
