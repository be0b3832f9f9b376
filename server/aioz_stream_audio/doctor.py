"""What the command ``doctor`` looks at: the settings, the state directory, the way to AIOZ Stream, and the keys.

It sends two reads of an audio that cannot exist: one without keys, so that they go nowhere before the way is known to
be good, and one with them. Neither changes anything.
"""

from __future__ import annotations

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from urllib.parse import urlsplit
from urllib.request import getproxies

from pydantic import BaseModel, ConfigDict, SecretStr

from .api import AiozStream, open_client
from .errors import (
    ApiError,
    JournalError,
    KeysNotAllowedError,
    KeysRefusedError,
    NotConnectedError,
    SettingsError,
    StatusError,
)
from .foreign_text import harmless
from .journal import Journal
from .local_path import shown
from .settings import APP_NAME, Keys, Settings, is_placeholder, variables

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    import httpx2

# Version 4 of a UUID without its random bits (RFC 9562, section 5.4): nobody's.
NOBODYS_ID = "00000000-0000-4000-8000-000000000000"
# Seconds; with clocks further apart, certificates and dates to wait for are misjudged.
CLOCK_APART_MAX = 300

_NO_KEYS = Keys(SecretStr(""), SecretStr(""))
_LABELS = {
    "public_key": "public key",
    "secret_key": "secret key",
    "api_url": "API address",
    "allowed_dirs": "allowed directories",
    "parallel_parts": "parallel parts",
    "part_size_mib": "part size",
    "state_dir": "state directory",
    "log_level": "log level",
}
# What a setting that is not set stands for, where its value does not say so.
_UNSET = {"allowed_dirs": "any", "part_size_mib": "chosen by file size"}


class Finding(BaseModel):
    """One thing that was looked at; ``to_do`` is None where all is well. Holds no key."""

    model_config = ConfigDict(frozen=True)

    name: str
    ok: bool
    found: str
    to_do: str | None = None

    def __str__(self) -> str:
        """Give it as a line."""
        if self.ok:
            return f"ok   {self.name}: {self.found}"
        stop = "" if self.found.endswith(".") else "."
        return f"FIX  {self.name}: {self.found}{stop} {self.to_do}"


class Diagnosis(BaseModel):
    """All that was found; ``ok`` if there is nothing to do."""

    model_config = ConfigDict(frozen=True)

    ok: bool
    findings: list[Finding]

    def __str__(self) -> str:
        """Give it as lines."""
        return "\n".join(map(str, self.findings))


@dataclass
class _Way:
    """What an answer showed of the way that it took: when it was given, and how it was encrypted."""

    date: datetime | None = None
    tls: str | None = None

    async def note(self, response: httpx2.Response) -> None:
        """Note what ``response`` shows; the client calls this before its body is read."""
        try:
            self.date = parsedate_to_datetime(response.headers.get("date", "")).astimezone(UTC)
        except ValueError:
            self.date = None
        stream = response.extensions.get("network_stream")
        secured = stream.get_extra_info("ssl_object") if stream is not None else None
        if secured is not None:
            certificate = secured.getpeercert() or {}
            until = harmless(str(certificate.get("notAfter", "an unknown date")))
            self.tls = f"{secured.version()}; the certificate is trusted, and valid until {until}"


def _now() -> datetime:
    return datetime.now(UTC)


async def examine(environ: Mapping[str, str], *, now: Callable[[], datetime] = _now) -> Diagnosis:
    """Look at everything, with the settings in ``environ``; proxies and certificates are the process's own."""
    settings, given, findings = _read(environ)
    # Keys belong to one address: where theirs cannot be read, they go to no other.
    somewhere = not any(finding.name in variables("api_url") for finding in findings)
    findings += _settings(settings, given)
    findings.append(await _state(settings))
    if somewhere:
        findings += await _api(settings, now)
    return Diagnosis(ok=all(finding.ok for finding in findings), findings=findings)


def _fine(name: str, found: str) -> Finding:
    return Finding(name=name, ok=True, found=found)


def _wrong(name: str, found: str, to_do: str) -> Finding:
    return Finding(name=name, ok=False, found=found, to_do=to_do)


def _read(environ: Mapping[str, str]) -> tuple[Settings, Mapping[str, str], list[Finding]]:
    """Read the settings, from those variables that have a value they can have; tell of the others."""
    given = dict(environ)
    findings: list[Finding] = []
    while True:
        try:
            return Settings.from_environ(given), given, findings
        except SettingsError as error:
            findings.append(_wrong(error.variable, "its value cannot be used", str(error)))
            del given[error.variable]


def _settings(settings: Settings, environ: Mapping[str, str]) -> Iterator[Finding]:
    for field in Settings.model_fields:
        yield _setting(field, settings, environ)
    if settings.public_key is not None and settings.public_key == settings.secret_key:
        yield _wrong("keys", "both are the same", "One was copied twice: copy each from AIOZ Stream's dashboard.")
    for directory in settings.allowed_dirs or ():
        if not directory.is_dir():
            yield _wrong(
                "allowed directories", f"{shown(directory)} is no directory", "Make it, or take it off the list."
            )
    yield _fine("proxy", _proxy(settings.api_url))


def _setting(field: str, settings: Settings, environ: Mapping[str, str]) -> Finding:
    """Tell a setting's value, and which variable it is from."""
    name = _LABELS[field]
    value = getattr(settings, field)
    origin = next((name for name in variables(field) if _is_set(environ.get(name, ""))), None)
    source = f"from {origin}" if origin else "the default"
    if isinstance(value, SecretStr):
        return _fine(name, f"hidden, {len(value.get_secret_value())} characters; {source}")
    if field in {"public_key", "secret_key"}:
        left_in = [name for name in variables(field) if is_placeholder(environ.get(name, ""))]
        why = f"not set: the host left a placeholder in {left_in[0]}" if left_in else "not set"
        return _wrong(name, why, f"Set {variables(field)[-1]}; to try without keys: {APP_NAME} upload FILE --sandbox.")
    if isinstance(value, tuple):
        value = ", ".join(map(str, value)) or "none"
    return _fine(name, f"{_UNSET[field] if value is None else shown(str(value))}; {source}")


def _is_set(value: str) -> bool:
    return bool(value.strip()) and not is_placeholder(value)


def _proxy(api_url: str) -> str:
    """Name the proxy of the environment without what it may hold of a password."""
    proxies = getproxies()
    address = proxies.get(urlsplit(api_url).scheme) or proxies.get("all")
    if not address:
        return "none"
    place = address.rpartition("@")[2].rpartition("//")[2]
    return harmless(f"{place}, but for {proxies['no']}" if proxies.get("no") else place)


async def _state(settings: Settings) -> Finding:
    """Open the journal and read in it, which makes it where there is none, as the first upload would."""
    journal = Journal(settings.state_dir, settings.api_url)
    try:
        await journal.get(NOBODYS_ID)
    except JournalError as error:
        return _wrong("journal", "cannot be used", str(error))
    finally:
        await journal.aclose()
    return _fine("journal", f"{shown(journal.path)} can be written")


async def _api(settings: Settings, now: Callable[[], datetime]) -> list[Finding]:
    """Go to the API without keys, and with them if what is there asks for keys."""
    try:
        client = open_client()
    except SettingsError as error:
        return [_wrong(error.variable, "cannot be used", str(error))]
    way = _Way()
    async with client:
        client.event_hooks = {"response": [way.note]}
        stranger = await _refusal(AiozStream(client, settings.api_url, _NO_KEYS))
        findings = _reached(stranger, settings.api_url)
        if findings[0].ok:
            findings += [_tls(way), _clock(way, now())]
            if settings.public_key and settings.secret_key:
                user = await _refusal(AiozStream(client, settings.api_url, settings.keys()))
                findings.append(_keys(user, stranger))
    return findings


async def _refusal(api: AiozStream) -> ApiError | None:
    try:
        await api.detail(NOBODYS_ID)
    except ApiError as error:
        return error
    return None


def _reached(error: ApiError | None, api_url: str) -> list[Finding]:
    """Tell what became of the call without keys; a refusal is what it should become."""
    match error:
        case NotConnectedError() if _is_untrusted(error):
            return [
                _wrong(
                    "TLS",
                    str(error),
                    "Check this machine's clock. If your network looks into TLS, set SSL_CERT_FILE to a file of its "
                    "certificates in PEM.",
                )
            ]
        case None | StatusError(status=200 | 400 | 401 | 403 | 404 | 429):
            return [_fine("API", f"{api_url} answers")]
        case _:
            to_do = "Check AIOZ_STREAM_API_URL, the network, and HTTPS_PROXY if there is a proxy."
            return [_wrong("API", str(error), to_do)]


def _is_untrusted(error: BaseException | None) -> bool:
    while error is not None and not isinstance(error, ssl.SSLError):
        error = error.__cause__ or error.__context__
    return error is not None


def _tls(way: _Way) -> Finding:
    return _fine("TLS", way.tls or "not used, for the API is on this machine")


def _clock(way: _Way, now: datetime) -> Finding:
    if way.date is None:
        return _fine("clock", "the API does not tell the time")
    apart = round((now - way.date).total_seconds())
    if abs(apart) <= CLOCK_APART_MAX:
        return _fine("clock", "agrees with the API's")
    direction = "ahead of" if apart > 0 else "behind"
    return _wrong("clock", f"{abs(apart)} s {direction} the API's", "Set this machine's clock, by NTP if you can.")


def _keys(error: ApiError | None, stranger: ApiError | None) -> Finding:
    """Tell whether the keys were taken: with them, all that the API minds is that there is no such audio."""
    match error, stranger:
        case ((KeysRefusedError() | KeysNotAllowedError()), _):
            return _wrong("keys", "not accepted", str(error))
        case ((None | StatusError(status=400 | 404)), KeysRefusedError()):
            return _fine("keys", "accepted")
        case ((None | StatusError(status=400 | 404)), _):
            to_do = "Check the path in AIOZ_STREAM_API_URL."
            return _wrong("keys", "could not be checked, for without them the API answers the same", to_do)
        case _:
            return _wrong("keys", "could not be checked", str(error))
