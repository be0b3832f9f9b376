from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from aioz_stream_audio.models import AudioConfig, CreateAudio, Media, Metadata, Quality

ID = "6f1c2d3e-0000-4000-8000-000000000001"


def test_a_title_alone_is_the_default_upload() -> None:
    audio = CreateAudio(title="My Podcast")
    assert audio.mode == "default"
    assert audio.body() == {"title": "My Podcast", "type": "audio"}


def test_the_custom_upload_is_sent_field_for_field() -> None:
    audio = CreateAudio.model_validate(
        {
            "title": "My Podcast",
            "description": "About it",
            "is_public": True,
            "tags": ["podcast", "tech"],
            "metadata": [{"key": "season", "value": "1"}],
            "qualities": [
                {
                    "resolution": "highest",
                    "audio_config": {"bitrate": 320000, "sample_rate": 48000, "language": "en"},
                },
                {"resolution": "standard", "type": "dash"},
            ],
        }
    )
    assert audio.mode == "custom"
    assert audio.body() == {
        "title": "My Podcast",
        "type": "audio",
        "description": "About it",
        "is_public": True,
        "tags": ["podcast", "tech"],
        "metadata": [{"key": "season", "value": "1"}],
        "qualities": [
            {
                "resolution": "highest",
                "type": "hls",
                "container_type": "mpegts",
                "audio_config": {
                    "codec": "aac",
                    "bitrate": 320000,
                    "channels": "2",
                    "sample_rate": 48000,
                    "language": "en",
                    "index": 0,
                },
            },
            {
                "resolution": "standard",
                "type": "dash",
                "container_type": "fmp4",
                "audio_config": {"codec": "aac", "bitrate": 128000, "channels": "2", "sample_rate": 44100, "index": 0},
            },
        ],
    }


@pytest.mark.parametrize(
    ("preset", "bitrate", "sample_rate"),
    [("standard", 128000, 44100), ("good", 192000, 44100), ("highest", 320000, 48000), ("lossless", 320000, 48000)],
)
def test_each_preset_has_its_bit_rate_and_sample_rate(preset: str, bitrate: int, sample_rate: int) -> None:
    config = Quality.model_validate({"resolution": preset}).body()["audio_config"]
    assert (config["bitrate"], config["sample_rate"]) == (bitrate, sample_rate)


@pytest.mark.parametrize(
    "nothing", [{"tags": []}, {"metadata": []}, {"qualities": []}, {"description": ""}, {"tags": None}]
)
def test_an_empty_option_is_no_option(nothing: dict[str, Any]) -> None:
    assert CreateAudio.model_validate({"title": "t", **nothing}).mode == "default"


def test_what_a_person_types_for_a_number_or_a_choice_is_understood() -> None:
    quality = Quality.model_validate(
        {
            "resolution": " Highest",
            "type": "HLS ",
            "audio_config": {"codec": "AAC", "bitrate": "320 kbit/s", "channels": 1, "sample_rate": "44.1kHz"},
        }
    )
    assert quality.body() == {
        "resolution": "highest",
        "type": "hls",
        "container_type": "mpegts",
        "audio_config": {"codec": "aac", "bitrate": 320000, "channels": "1", "sample_rate": 44100, "index": 0},
    }


@pytest.mark.parametrize(("typed", "meant"), [("320k", 320000), ("320000", 320000), ("64kbps", 64000), (96000, 96000)])
def test_a_bit_rate_can_be_written_as_people_write_it(typed: object, meant: int) -> None:
    assert AudioConfig.model_validate({"bitrate": typed}).bitrate == meant


def test_a_tag_with_a_comma_is_two_tags_as_aioz_stream_makes_of_it() -> None:
    assert CreateAudio.model_validate({"title": "t", "tags": ["podcast, tech", " "]}).tags == ["podcast", "tech"]
    assert CreateAudio.model_validate({"title": "t", "tags": "podcast,tech"}).tags == ["podcast", "tech"]


def test_a_title_is_limited_in_bytes_of_utf_8() -> None:
    assert CreateAudio(title="é" * 127).title == "é" * 127
    with pytest.raises(ValidationError, match="must be 1 to 255 bytes of UTF-8, and is 256"):
        CreateAudio(title="é" * 128)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ({"title": ""}, "at least 1 character"),
        ({"title": " "}, "must be 1 to 255 bytes"),
        ({"title": "a" * 256}, "at most 255 characters"),
        ({"title": "\ud800"}, "valid string"),
        ({"title": "t", "description": "d" * 1001}, "at most 1000 characters"),
        ({"title": "t", "tags": ["a"] * 51}, "at most 50 items"),
        ({"title": "t", "tags": ["a" * 256]}, "at most 255 characters"),
        ({"title": "t", "tags": 5}, "valid list"),
        ({"title": "t", "tags": [5]}, "valid string"),
        ({"title": "t", "metadata": [{"key": "", "value": "v"}]}, "at least 1 character"),
        ({"title": "t", "metadata": [{"key": "k", "value": "v"}] * 51}, "at most 50 items"),
        ({"title": "t", "speed": 2}, "Extra inputs"),
    ],
)
def test_the_limits_of_the_api_are_kept(body: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        CreateAudio.model_validate(body)


@pytest.mark.parametrize(
    ("quality", "complaint"),
    [
        ({"resolution": "best"}, "'standard', 'good', 'highest' or 'lossless'"),
        ({"resolution": "good", "type": "dash", "container_type": "mpegts"}, "of dash must be fmp4, not mpegts"),
        ({"resolution": "good", "container_type": "fmp4"}, "of hls must be mpegts or mp4, not fmp4"),
        ({"resolution": "good", "audio_config": {"bitrate": "loud"}}, "must be a number, such as 48000 or 320k"),
        ({"resolution": "good", "audio_config": {"bitrate": 320}}, "greater than or equal to 8000"),
        ({"resolution": "good", "audio_config": {"bitrate": 2_000_000}}, "less than or equal to 1152000"),
        ({"resolution": "good", "audio_config": {"bitrate": "0.0001k"}}, "must be a number"),
        ({"resolution": "good", "audio_config": {"sample_rate": 44000}}, "the nearest to 44000 is 44100"),
        ({"resolution": "good", "audio_config": {"codec": "mp3"}}, "'aac'"),
        ({"resolution": "good", "audio_config": {"channels": 6}}, "'2' or '1'"),
        ({"resolution": "good", "audio_config": {"channels": True}}, "'2' or '1'"),
        ({"resolution": "good", "audio_config": {"language": "not a language"}}, "match pattern"),
    ],
)
def test_a_quality_that_cannot_be_made_is_refused(quality: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValidationError, match=complaint):
        Quality.model_validate(quality)


def test_metadata_is_a_pair() -> None:
    assert Metadata(key="k", value="").value == ""


def media(**more: object) -> Media:
    return Media.model_validate({"id": ID, "title": "t", **more})


def test_an_audio_is_ready_once_a_link_is_there_and_the_work_is_over() -> None:
    links = {"hls_url": "https://cdn.example.org/a.m3u8"}
    assert media(status="done", assets=links).ready
    assert media(status="ready", assets={"dash_url": "https://cdn.example.org/a.mpd"}).ready
    assert not media(status="transcoding", assets=links).ready
    assert not media(status="done", assets=None).ready


def test_the_hls_link_may_stand_beside_the_assets() -> None:
    assert media(hls="https://cdn.example.org/a.m3u8").hls_url == "https://cdn.example.org/a.m3u8"


@pytest.mark.parametrize("junk", ["", "?token=abc", 7, None, "javascript:alert(1)"])
def test_what_is_no_web_address_is_no_link(junk: object) -> None:
    assert media(assets={"hls_url": junk}).hls_url is None


def test_an_answer_with_strange_values_is_read_for_what_is_sound() -> None:
    strange = media(
        status=None,
        duration="long",
        qualities=[{"name": "highest", "audio_bitrate": "fast"}, "x"],
        assets="none",
        more=1,
    )
    assert (strange.status, strange.duration, strange.hls_url) == ("", None, None)
    assert [(quality.name, quality.audio_bitrate) for quality in strange.qualities] == [("highest", None)]
    assert media(qualities="none").qualities == []


def test_an_id_that_could_lead_elsewhere_in_a_path_is_no_id() -> None:
    with pytest.raises(ValidationError):
        Media.model_validate({"id": "../../etc", "title": "t"})


def test_text_of_the_api_is_read_as_harmless_lines_and_numbers_as_ones_that_can_be() -> None:
    hostile = media(
        title="a\x1b[2J\u202eb\nc",
        status="x" * 1000,
        duration=float("nan"),
        qualities=[{"name": "good\x07", "type": "hls", "status": "\ud800done", "audio_bitrate": 1e400}],
    )
    assert (hostile.title, len(hostile.status), hostile.duration) == ("a [2Jb c", 300, None)
    assert hostile.qualities[0].model_dump() == {
        "name": "good",
        "type": "hls",
        "status": "done",
        "audio_bitrate": None,
    }
    assert media(duration=-1, qualities=[{"audio_bitrate": 1.5}]).qualities[0].audio_bitrate == 2
