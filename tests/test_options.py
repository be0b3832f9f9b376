from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from aioz_stream_audio.errors import InputError
from aioz_stream_audio.options import UploadOptions
from aioz_stream_audio.source import find_source
from audio_files import make_audio

if TYPE_CHECKING:
    from pathlib import Path

    from aioz_stream_audio.source import Source

# The two keys that a body always has; what else there is makes it a custom one.
PLAIN = {"title": "t", "type": "audio"}


@pytest.fixture(scope="module")
def stereo(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return find_source(make_audio(tmp_path_factory.mktemp("stereo") / "My tone.flac", seconds=0.1))


@pytest.fixture(scope="module")
def mono(tmp_path_factory: pytest.TempPathFactory) -> Source:
    return find_source(make_audio(tmp_path_factory.mktemp("mono") / "mono.wav", seconds=0.1, channels=1))


def named(directory: Path, name: str, title: str | None = None) -> str:
    """The title that a file of this name, with this title in its tags, gets when none is typed."""
    return UploadOptions().request(find_source(make_audio(directory / name, seconds=0.1, title=title))).title


def stream(source: Source, **options: Any) -> dict[str, Any]:  # noqa: ANN401 - any of the options
    """The one quality that these options ask for."""
    body = UploadOptions(title="t", **options).request(source).body()
    (quality,) = body["qualities"]
    assert body == PLAIN | {"qualities": [quality]}
    return dict(quality)


def test_the_title_in_the_files_tags_is_taken(tmp_path: Path) -> None:
    assert named(tmp_path, "file.flac", title="Ta\u0323p 1: xin ch\xe0o") == "Ta\u0323p 1: xin ch\xe0o"


def test_without_a_title_in_the_tags_the_files_name_is_taken(tmp_path: Path) -> None:
    assert named(tmp_path, "My podcast, part 1.wav") == "My podcast, part 1"


def test_a_title_that_nobody_typed_is_cut_between_characters_to_what_aioz_stream_takes(tmp_path: Path) -> None:
    assert named(tmp_path, "file.flac", title="a" + "\u00e4" * 200) == "a" + "\u00e4" * 127


def test_a_title_typed_wins_over_the_tags(tmp_path: Path) -> None:
    source = find_source(make_audio(tmp_path / "file.flac", seconds=0.1, title="In the tags"))
    assert UploadOptions(title=" Typed ").request(source).title == "Typed"


def test_a_title_alone_is_the_default_upload(stereo: Source) -> None:
    request = UploadOptions(title="t").request(stereo)
    assert (request.mode, request.body()) == ("default", PLAIN)


@pytest.mark.parametrize(
    ("options", "field"),
    [
        (UploadOptions(title="t", description="d"), {"description": "d"}),
        (UploadOptions(title="t", public=True), {"is_public": True}),
        (UploadOptions(title="t", public=False), {"is_public": False}),
        (UploadOptions(title="t", tags=("podcast", "tech, news")), {"tags": ["podcast", "tech", "news"]}),
        (
            UploadOptions(title="t", metadata=("a=1", " b = x=y ", "c=")),
            {"metadata": [{"key": "a", "value": "1"}, {"key": "b", "value": "x=y"}, {"key": "c", "value": ""}]},
        ),
    ],
)
def test_each_option_is_its_field_and_makes_the_upload_a_custom_one(
    stereo: Source, options: UploadOptions, field: dict[str, Any]
) -> None:
    request = options.request(stereo)
    assert (request.mode, request.body()) == ("custom", PLAIN | field)


def test_a_quality_brings_its_own_bit_rate_and_sample_rate(stereo: Source) -> None:
    assert stream(stereo, quality="good") == {
        "resolution": "good",
        "type": "hls",
        "container_type": "mpegts",
        "audio_config": {"codec": "aac", "bitrate": 192_000, "channels": "2", "sample_rate": 44_100, "index": 0},
    }


def test_every_option_of_a_stream_goes_into_the_one_quality(stereo: Source) -> None:
    options = {"quality": "Standard", "format": "DASH", "bitrate": "96 kbps", "sample_rate": "22.05kHz"}
    assert stream(stereo, **options, channels="1", language="vi") == {
        "resolution": "standard",
        "type": "dash",
        "container_type": "fmp4",
        "audio_config": {
            "codec": "aac",
            "bitrate": 96_000,
            "channels": "1",
            "sample_rate": 22_050,
            "language": "vi",
            "index": 0,
        },
    }


@pytest.mark.parametrize(
    "options", [{"format": "hls"}, {"bitrate": "320k"}, {"sample_rate": "48000"}, {"channels": "2"}, {"language": "en"}]
)
def test_a_detail_of_a_stream_without_a_quality_asks_for_the_best(stereo: Source, options: dict[str, str]) -> None:
    quality = stream(stereo, **options)
    assert (quality["resolution"], quality["audio_config"]["bitrate"]) == ("highest", 320_000)


def test_a_mono_file_stays_mono_because_more_channels_than_it_has_may_be_refused(mono: Source) -> None:
    assert stream(mono, quality="good")["audio_config"]["channels"] == "1"


def test_channels_typed_win_over_those_of_the_file(mono: Source) -> None:
    assert stream(mono, channels="2")["audio_config"]["channels"] == "2"


def test_a_mono_file_for_which_no_stream_is_asked_is_the_default_upload(mono: Source) -> None:
    assert UploadOptions(title="t").request(mono).mode == "default"


@pytest.mark.parametrize(
    ("options", "option", "words"),
    [
        ({"title": ""}, "--title", "must have at least 1 character"),
        ({"title": "  "}, "--title", "must be 1 to 255 bytes of UTF-8, and is 0"),
        ({"title": "\u00e4" * 128}, "--title", "must be 1 to 255 bytes of UTF-8, and is 256"),
        ({"description": "d" * 1_001}, "--description", "at most 1000 characters"),
        ({"tags": ("t" * 256,)}, "--tag", "at most 255 characters"),
        ({"tags": tuple(f"t{n}" for n in range(51))}, "--tag", "at most 50 items"),
        ({"metadata": ("k" * 256 + "=v",)}, "--meta", "at most 255 characters"),
        ({"metadata": ("=v",)}, "--meta", "must be KEY=VALUE, not '=v'"),
        ({"metadata": ("kv",)}, "--meta", "must be KEY=VALUE, not 'kv'"),
        ({"quality": "best"}, "--quality", "must be 'standard', 'good', 'highest' or 'lossless', not 'best'"),
        ({"format": "mp3"}, "--format", "must be 'hls' or 'dash', not 'mp3'"),
        ({"bitrate": "loud"}, "--bitrate", "must be a number, such as 48000 or 320k"),
        ({"bitrate": "5"}, "--bitrate", "is in bit/s and must be at least 8000"),
        ({"bitrate": "9999k"}, "--bitrate", "must be at most 1152000"),
        ({"sample_rate": "44000"}, "--sample-rate", "the nearest to 44000 is 44100"),
        ({"channels": "6"}, "--channels", "must be '2' or '1', not '6'"),
        ({"language": "English!"}, "--language", "must be a BCP 47 code, such as en or pt-BR, not 'English!'"),
    ],
)
def test_a_wrong_value_is_refused_by_its_options_name_with_what_it_may_be(
    stereo: Source, options: dict[str, Any], option: str, words: str
) -> None:
    with pytest.raises(InputError) as caught:
        UploadOptions(**{"title": "t", **options}).request(stereo)
    message = str(caught.value)
    assert message.startswith(f"{option} ")
    assert words in message
    assert message.endswith(("Nothing was done.", "nothing was sent."))


def test_a_wrong_value_that_is_very_long_is_shown_short(stereo: Source) -> None:
    with pytest.raises(InputError) as caught:
        UploadOptions(title="t", quality="q" * 5_000, metadata=("ok=1",)).request(stereo)
    assert len(str(caught.value)) < 300
    with pytest.raises(InputError) as caught:
        UploadOptions(title="t", metadata=("m" * 5_000,)).request(stereo)
    assert len(str(caught.value)) < 300
