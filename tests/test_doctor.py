from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import anyio
import httpx2
import pytest

from aioz_stream_audio.doctor import CLOCK_APART_MAX, NOBODYS_ID, Diagnosis, examine
from aioz_stream_audio.sandbox import PUBLIC_KEY, faults
from network import LOOPBACK, Authority, answering, proxy_to

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.sandbox import Sandbox

pytestmark = pytest.mark.anyio

MARKED = "marked-key-5ab1f00d"
UNREACHABLE = "http://127.0.0.1:1/api/videos"


@pytest.fixture(autouse=True)
def _direct(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "SSL_CERT_FILE", "SSL_CERT_DIR"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def diagnosis_of(environ: dict[str, str]) -> Diagnosis:
    with anyio.fail_after(30):
        return await examine(environ)


async def to_fix(environ: dict[str, str]) -> list[str]:
    """Give the lines that say what to do."""
    diagnosis = await diagnosis_of(environ)
    assert diagnosis.ok is all(finding.ok for finding in diagnosis.findings)
    return [line for line in str(diagnosis).splitlines() if not line.startswith("ok   ")]


async def test_where_all_is_well_each_line_says_so(environ: dict[str, str], tmp_path: Path) -> None:
    url = environ["AIOZ_STREAM_API_URL"]
    assert str(await diagnosis_of(environ)).splitlines() == [
        "ok   public key: hidden, 18 characters; from STREAM_PUBLIC_KEY",
        "ok   secret key: hidden, 18 characters; from STREAM_SECRET_KEY",
        f"ok   API address: {url}; from AIOZ_STREAM_API_URL",
        "ok   allowed directories: any; the default",
        "ok   parallel parts: 5; the default",
        "ok   part size: chosen by file size; the default",
        f"ok   state directory: {tmp_path}/state; from AIOZ_STREAM_STATE_DIR",
        "ok   log level: WARNING; the default",
        "ok   proxy: none",
        f"ok   journal: {tmp_path}/state/journal.sqlite3 can be written",
        f"ok   API: {url} answers",
        "ok   TLS: not used, for the API is on this machine",
        "ok   clock: agrees with the API's",
        "ok   keys: accepted",
    ]


async def test_it_reads_an_audio_that_does_not_exist_and_nothing_else(
    environ: dict[str, str], sandbox: Sandbox
) -> None:
    assert (await diagnosis_of(environ)).ok
    assert [(entry.call, entry.media_id, entry.status) for entry in sandbox.account.requests] == [
        ("detail", NOBODYS_ID, 401),
        ("detail", NOBODYS_ID, 404),
    ]


async def test_the_variable_that_wins_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    more = {"AIOZ_STREAM_PUBLIC_KEY": PUBLIC_KEY, "AIOZ_STREAM_ALLOWED_DIRS": str(tmp_path)}
    lines = str(await diagnosis_of(environ | more)).splitlines()
    assert "ok   public key: hidden, 18 characters; from AIOZ_STREAM_PUBLIC_KEY" in lines
    assert f"ok   allowed directories: {tmp_path}; from AIOZ_STREAM_ALLOWED_DIRS" in lines


async def test_a_directory_that_is_none_is_named(environ: dict[str, str], tmp_path: Path) -> None:
    assert await to_fix(environ | {"AIOZ_STREAM_ALLOWED_DIRS": f"{tmp_path}/none\x1b[2J"}) == [
        f"FIX  allowed directories: {tmp_path}/none\ufffd[2J is no directory. Make it, or take it off the list."
    ]


async def test_missing_keys_say_what_to_set_and_a_placeholder_of_the_hosts_is_told(
    environ: dict[str, str], sandbox: Sandbox
) -> None:
    del environ["STREAM_SECRET_KEY"]
    environ["STREAM_PUBLIC_KEY"] = "${user_config.public_key}"
    assert await to_fix(environ) == [
        (
            "FIX  public key: not set: the host left a placeholder in STREAM_PUBLIC_KEY. Set STREAM_PUBLIC_KEY; to try "
            "without keys: audio-upload-aioz-stream upload FILE --sandbox."
        ),
        (
            "FIX  secret key: not set. Set STREAM_SECRET_KEY; to try without keys: audio-upload-aioz-stream upload "
            "FILE --sandbox."
        ),
    ]
    assert sandbox.account.count("detail") == 1


async def test_keys_that_are_not_accepted_are_told_and_not_shown(environ: dict[str, str]) -> None:
    diagnosis = await diagnosis_of(environ | {"STREAM_SECRET_KEY": MARKED})
    (finding,) = [finding for finding in diagnosis.findings if not finding.ok]
    assert (finding.name, finding.found) == ("keys", "not accepted")
    assert "Check both keys. Keys belong to one address of the API" in (finding.to_do or "")
    assert MARKED not in f"{diagnosis} {diagnosis!r} {diagnosis.model_dump_json()}"


async def test_one_key_copied_twice_is_told(environ: dict[str, str]) -> None:
    lines = await to_fix(environ | {"STREAM_SECRET_KEY": PUBLIC_KEY})
    assert lines[0] == "FIX  keys: both are the same. One was copied twice: copy each from AIOZ Stream's dashboard."


async def test_keys_that_may_not_read_are_told(environ: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add("detail", faults.status(401, "You are not logged in."))
    sandbox.faults.add("detail", faults.status(403, "Api key are not allowed to access this resource."))
    (line,) = await to_fix(environ)
    assert line.startswith("FIX  keys: not accepted. ")
    assert "use keys with full access" in line


async def test_every_variable_with_a_wrong_value_is_told_and_the_others_are_looked_at(environ: dict[str, str]) -> None:
    wrong = {"AIOZ_STREAM_LOG_LEVEL": "loud", "AIOZ_STREAM_PARALLEL_PARTS": "77"}
    diagnosis = await diagnosis_of(environ | wrong)
    assert [line for line in str(diagnosis).splitlines() if line.startswith("FIX")] == [
        (
            "FIX  AIOZ_STREAM_PARALLEL_PARTS: its value cannot be used. AIOZ_STREAM_PARALLEL_PARTS must be a whole "
            "number from 1 to 16."
        ),
        (
            "FIX  AIOZ_STREAM_LOG_LEVEL: its value cannot be used. AIOZ_STREAM_LOG_LEVEL must be DEBUG, INFO, WARNING, "
            "ERROR or CRITICAL."
        ),
    ]
    assert "ok   log level: WARNING; the default" in str(diagnosis)
    assert "ok   keys: accepted" in str(diagnosis)


async def test_keys_whose_address_cannot_be_read_go_nowhere(environ: dict[str, str], sandbox: Sandbox) -> None:
    (line,) = await to_fix(environ | {"AIOZ_STREAM_API_URL": "http://api.example.org/"})
    assert line.startswith("FIX  AIOZ_STREAM_API_URL: its value cannot be used. ")
    assert not sandbox.account.requests


async def test_an_api_that_cannot_be_reached_is_told_and_no_key_is_sent(environ: dict[str, str]) -> None:
    diagnosis = await diagnosis_of(environ | {"AIOZ_STREAM_API_URL": UNREACHABLE})
    assert diagnosis.findings[-1].name == "API"
    assert str(diagnosis.findings[-1]).startswith("FIX  API: 127.0.0.1 could not be reached (")
    assert "try again. Check AIOZ_STREAM_API_URL, the network" in str(diagnosis)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (faults.status(503), "refused the detail call with status 503"),
        (faults.redirect("https://elsewhere.example/"), "points to https://elsewhere.example/, which is not followed"),
        (faults.raw(200, "text/html", b"<html>"), "may not be AIOZ Stream that answered"),
        (faults.reset(), "broke before an answer came"),
    ],
)
async def test_where_somebody_else_answers_no_key_is_sent(
    environ: dict[str, str], sandbox: Sandbox, fault: faults.Fault, words: str
) -> None:
    sandbox.faults.add("detail", fault)
    (line,) = await to_fix(environ)
    assert line.startswith("FIX  API: ")
    assert words in line
    assert sandbox.account.count("detail") == 1


async def test_where_the_answer_is_the_same_without_keys_the_path_may_be_wrong(environ: dict[str, str]) -> None:
    assert await to_fix(
        environ | {"AIOZ_STREAM_API_URL": environ["AIOZ_STREAM_API_URL"].replace("videos", "vids")}
    ) == [
        (
            "FIX  keys: could not be checked, for without them the API answers the same. Check the path in "
            "AIOZ_STREAM_API_URL."
        )
    ]


async def test_keys_are_not_called_accepted_by_a_fault_of_the_api(environ: dict[str, str], sandbox: Sandbox) -> None:
    sandbox.faults.add("detail", faults.status(401))
    sandbox.faults.add("detail", faults.status(429, "Too many requests."))
    (line,) = await to_fix(environ)
    assert line.startswith("FIX  keys: could not be checked. 127.0.0.1 refused the detail call with status 429")


@pytest.mark.parametrize(("hours", "words"), [(2, "s ahead of"), (-2, "s behind")])
async def test_a_clock_that_is_wrong_is_told(environ: dict[str, str], hours: int, words: str) -> None:
    diagnosis = await examine(environ, now=lambda: datetime.now(UTC) + timedelta(hours=hours))
    assert not diagnosis.ok
    assert f"{words} the API's. Set this machine's clock, by NTP if you can." in str(diagnosis)


async def test_a_clock_may_be_a_little_wrong(environ: dict[str, str]) -> None:
    assert (await examine(environ, now=lambda: datetime.now(UTC) + timedelta(seconds=CLOCK_APART_MAX / 2))).ok


async def test_an_api_that_does_not_tell_the_time_is_no_reason_to_worry(environ: dict[str, str]) -> None:
    async with answering(b"HTTP/1.1 401 Unauthorized\r\nContent-Length: 2\r\n\r\n{}") as port:
        diagnosis = await diagnosis_of(environ | {"AIOZ_STREAM_API_URL": f"http://{LOOPBACK}:{port}/api/videos"})
    assert "ok   clock: the API does not tell the time" in str(diagnosis)


async def test_an_api_that_answers_whoever_asks_says_nothing_of_the_keys(
    environ: dict[str, str], sandbox: Sandbox
) -> None:
    body = b'{"status": "success", "data": {"id": "an-id"}}'
    sandbox.faults.add("detail", faults.raw(200, "application/json", body), times=2)
    (line,) = await to_fix(environ)
    assert line.startswith("FIX  keys: could not be checked, for without them the API answers the same.")


async def test_a_journal_that_cannot_be_used_is_told_with_what_to_do(environ: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (line,) = await to_fix(environ | {"AIOZ_STREAM_STATE_DIR": str(tmp_path / "file" / "state")})
    assert line.startswith("FIX  journal: cannot be used. The journal of uploads, ")
    assert "or set AIOZ_STREAM_STATE_DIR to one that is." in line


async def test_tls_is_told_with_its_version_and_the_certificates_end(
    environ: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    authority = Authority(LOOPBACK)
    async with authority.in_front_of(httpx2.URL(environ["AIOZ_STREAM_API_URL"]).port or 0) as port:
        environ["AIOZ_STREAM_API_URL"] = f"https://{LOOPBACK}:{port}/api/videos"
        (untrusted,) = await to_fix(environ)
        monkeypatch.setenv("SSL_CERT_FILE", str(authority.write(tmp_path / "authority.pem")))
        trusted = await diagnosis_of(environ)
    assert untrusted.startswith("FIX  TLS: 127.0.0.1 could not be reached (")
    assert "set SSL_CERT_FILE to a file of its certificates in PEM" in untrusted
    assert trusted.ok
    assert "ok   TLS: TLSv1.3; the certificate is trusted, and valid until " in str(trusted)


async def test_certificates_that_cannot_be_read_are_told(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", "/nowhere.pem")
    (line,) = await to_fix(environ)
    assert line.startswith("FIX  SSL_CERT_FILE: cannot be used. SSL_CERT_FILE must be a file of certificates in PEM")


async def test_the_proxy_is_named_without_its_password(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async with proxy_to(httpx2.URL(environ["AIOZ_STREAM_API_URL"]).port or 0) as proxy:
        monkeypatch.setenv("HTTP_PROXY", proxy.url.replace("//", f"//user:{MARKED}@"))
        monkeypatch.setenv("NO_PROXY", "example.org")
        diagnosis = await diagnosis_of(environ)
    assert f"ok   proxy: 127.0.0.1:{proxy.own_port}, but for example.org" in str(diagnosis)
    assert MARKED not in diagnosis.model_dump_json()
    assert diagnosis.ok
