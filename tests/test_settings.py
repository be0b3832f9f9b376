from __future__ import annotations

import os
from pathlib import Path

import pytest

from aioz_stream_audio.errors import KeysMissingError, SettingsError
from aioz_stream_audio.settings import W3STREAM_URL, Settings, is_loopback

MARKED = "marked-key-5ab1f00d"


def test_nothing_set_gives_the_defaults() -> None:
    settings = Settings.from_environ({})
    assert settings.api_url == W3STREAM_URL
    assert (settings.parallel_parts, settings.part_size_mib, settings.allowed_dirs) == (5, None, None)
    assert settings.log_level == "WARNING"
    assert settings.state_dir.name == "audio-upload-aioz-stream"


def test_the_projects_own_key_variables_win_over_the_shared_ones() -> None:
    settings = Settings.from_environ({"STREAM_PUBLIC_KEY": "shared", "AIOZ_STREAM_PUBLIC_KEY": "own"})
    assert settings.public_key is not None
    assert settings.public_key.get_secret_value() == "own"


@pytest.mark.parametrize("left_in", ["", "  ", "${user_config.public_key}", "${STREAM_PUBLIC_KEY}"])
def test_a_placeholder_that_a_host_left_in_counts_as_not_set(left_in: str) -> None:
    settings = Settings.from_environ({"AIOZ_STREAM_PUBLIC_KEY": left_in, "STREAM_PUBLIC_KEY": "shared"})
    assert settings.public_key is not None
    assert settings.public_key.get_secret_value() == "shared"


def test_the_keys_are_nowhere_in_what_a_log_could_show_of_the_settings() -> None:
    settings = Settings.from_environ({"STREAM_PUBLIC_KEY": MARKED, "STREAM_SECRET_KEY": MARKED})
    assert MARKED not in f"{settings!r} {settings} {settings.keys()!r} {settings.model_dump_json()}"


@pytest.mark.parametrize(
    ("variable", "value", "rule"),
    [
        ("AIOZ_STREAM_PARALLEL_PARTS", "0", "a whole number from 1 to 16"),
        ("AIOZ_STREAM_PARALLEL_PARTS", "many", "a whole number from 1 to 16"),
        ("AIOZ_STREAM_PART_SIZE_MIB", "129", "a whole number of MiB from 1 to 128"),
        ("AIOZ_STREAM_LOG_LEVEL", "loud", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
        ("AIOZ_STREAM_API_URL", "http://api.example.org/api/videos", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://user:secret@api.example.org/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://api.example.org:0/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://api.example.org:99999/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://api.example.org/?a=b", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "ftp://127.0.0.1/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "videos", "an https: URL"),
        # What the HTTP client would stumble over only when the first call is made.
        ("AIOZ_STREAM_API_URL", "https://a b/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://a.example/\x01", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://\u200b/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://\udcff.example/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://999.1.1.1/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://[v1.x]/", "an https: URL"),
        ("AIOZ_STREAM_API_URL", "https://[::1", "an https: URL"),
        ("STREAM_SECRET_KEY", f"{MARKED} {MARKED}", "the key as AIOZ Stream shows it"),
        ("AIOZ_STREAM_SECRET_KEY", f"{MARKED}\n{MARKED}", "the key as AIOZ Stream shows it"),
        ("STREAM_PUBLIC_KEY", f"{MARKED}é", "the key as AIOZ Stream shows it"),
    ],
)
def test_a_bad_value_is_one_line_that_names_the_variable_and_what_it_may_be(
    variable: str, value: str, rule: str
) -> None:
    with pytest.raises(SettingsError) as caught:
        Settings.from_environ({variable: value})
    message = str(caught.value)
    assert message.startswith(f"{variable} must be {rule}")
    assert "\n" not in message
    assert MARKED not in message
    assert caught.value.variable == variable


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("https://api.example.org/api/media/", "https://api.example.org/api/media"),
        (" http://127.0.0.1:8788/api/videos ", "http://127.0.0.1:8788/api/videos"),
        ("http://[::1]:1/x", "http://[::1]:1/x"),
        ("http://LOCALHOST:1/x", "http://LOCALHOST:1/x"),
    ],
)
def test_plain_http_is_for_this_machine_alone(given: str, kept: str) -> None:
    assert Settings.from_environ({"AIOZ_STREAM_API_URL": given}).api_url == kept


def test_allowed_directories_are_separated_as_the_system_separates_paths() -> None:
    value = os.pathsep.join(["music", "~", "", "${user_config.more}"])
    settings = Settings.from_environ({"AIOZ_STREAM_ALLOWED_DIRS": value})
    assert settings.allowed_dirs == (Path("music"), Path.home())
    assert Settings(allowed_dirs=(Path("a"),)).allowed_dirs == (Path("a"),)


def test_keys_that_are_passed_win() -> None:
    settings = Settings.from_environ({"STREAM_PUBLIC_KEY": "configured", "STREAM_SECRET_KEY": "configured"})
    headers = settings.keys("passed", None).headers()
    assert headers == {"stream-public-key": "passed", "stream-secret-key": "configured"}


def test_a_placeholder_passed_as_a_key_counts_as_not_passed() -> None:
    settings = Settings.from_environ({"STREAM_PUBLIC_KEY": "configured", "STREAM_SECRET_KEY": "configured"})
    assert settings.keys("", "${STREAM_SECRET_KEY}").headers()["stream-secret-key"] == "configured"


def test_a_key_passed_that_cannot_be_one_is_refused_without_showing_it() -> None:
    with pytest.raises(SettingsError, match="secret_key must be the key as AIOZ Stream shows it") as caught:
        Settings().keys("public", f"{MARKED}\r\nx: y")
    assert MARKED not in str(caught.value)


@pytest.mark.parametrize(
    ("environ", "missing"),
    [
        ({}, "STREAM_PUBLIC_KEY and STREAM_SECRET_KEY are not set"),
        ({"STREAM_PUBLIC_KEY": "k"}, "STREAM_SECRET_KEY is not set"),
        ({"STREAM_SECRET_KEY": "k"}, "STREAM_PUBLIC_KEY is not set"),
    ],
)
def test_missing_keys_are_named_with_what_to_do(environ: dict[str, str], missing: str) -> None:
    with pytest.raises(KeysMissingError, match=missing) as caught:
        Settings.from_environ(environ).keys()
    assert "As a last resort" in str(caught.value)


@pytest.mark.parametrize(
    ("host", "is_it"),
    [("127.0.0.1", True), ("127.9.9.9", True), ("::1", True), ("localhost", True), ("10.0.0.1", False), ("a.b", False)],
)
def test_loopback_is_this_machine_and_no_other(host: str, is_it: bool) -> None:  # noqa: FBT001 - a table's column
    assert is_loopback(host) is is_it


def test_directories_that_are_named_win_over_the_environments() -> None:
    settings = Settings.from_environ({"AIOZ_STREAM_ALLOWED_DIRS": "music"})
    assert settings.restricted_to(["~", f"a{os.pathsep}b"]).allowed_dirs == (Path.home(), Path(f"a{os.pathsep}b"))


@pytest.mark.parametrize("named", [[], ["", " "], ["${user_config.allowed_directories}"]])
def test_without_a_directory_named_the_environments_stay(named: list[str]) -> None:
    settings = Settings.from_environ({"AIOZ_STREAM_ALLOWED_DIRS": "music"})
    assert settings.restricted_to(named).allowed_dirs == (Path("music"),)
