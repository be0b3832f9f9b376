from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from aioz_stream_audio.inputs import explain, unknown
from aioz_stream_audio.models import CreateAudio

MARKED = "marked-key-5ab1f00d"


class Arguments(CreateAudio):
    public_key: str | None = None
    secret_key: int | None = None


def complaint(arguments: dict[str, Any], model: type[BaseModel] = Arguments, **names: str) -> str:
    with pytest.raises(ValidationError) as caught:
        model.model_validate(arguments)
    return explain(caught.value, names=names)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({}, "title is missing. Nothing was done."),
        ({"title": "é" * 128}, "title must be 1 to 255 bytes of UTF-8, and is 256. Nothing was done."),
        ({"title": ""}, "title must have at least 1 character, not ''. Nothing was done."),
        ({"title": "\ud800"}, "title must be text that UTF-8 can carry. Nothing was done."),
        ({"title": 5}, "title must be text, not 5. Nothing was done."),
        (
            {"title": "t", "qualities": [{"resolution": "best"}]},
            (
                "qualities[0].resolution must be 'standard', 'good', 'highest' or 'lossless', not 'best'. "
                "Nothing was done."
            ),
        ),
        (
            {"title": "t", "qualities": [{"resolution": "good", "audio_config": {"bitrate": "loud"}}]},
            "qualities[0].audio_config.bitrate must be a number, such as 48000 or 320k. Nothing was done.",
        ),
        (
            {"title": "t", "qualities": [{"resolution": "good", "audio_config": {"bitrate": 1.5}}]},
            "qualities[0].audio_config.bitrate must be a whole number, not 1.5. Nothing was done.",
        ),
        (
            {"title": "t", "qualities": [{"resolution": "good", "audio_config": {"language": "?"}}]},
            "qualities[0].audio_config.language must be a BCP 47 code, such as en or pt-BR, not '?'. Nothing was done.",
        ),
        (
            {"title": "t", "qualities": [{"resolution": "good", "type": "dash", "container_type": "mpegts"}]},
            "qualities[0] container_type of dash must be fmp4, not mpegts. Nothing was done.",
        ),
        (
            {"title": "t", "qualities": [{"resolution": "good", "speed": 2}]},
            "qualities[0].speed is not known here. Nothing was done.",
        ),
        (
            {"title": "t", "tags": ["a"] * 51},
            "tags must have at most 50 items. Nothing was done.",
        ),
    ],
)
def test_a_wrong_argument_is_named_with_what_it_must_be(arguments: dict[str, Any], words: str) -> None:
    assert complaint(arguments) == words


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"qualities": [{"resolution": "good", "bitrate": 1}]}, "qualities[0].bitrate belongs into audio_config."),
        ({"qualities": ["good"]}, 'qualities[0] must look like {"resolution": "highest"}, not \'good\'.'),
        ({"metadata": {"a": "b"}}, 'metadata must look like [{"key": "season", "value": "1"}].'),
        (
            {"qualities": [{"resolution": "good", "audio_config": {"bitrate": 320}}]},
            "qualities[0].audio_config.bitrate is in bit/s and must be at least 8000 (320k is 320000), not 320.",
        ),
        ({"tags": ["a" * 256]}, "tags[0] must have at most 255 characters."),
    ],
)
def test_a_likely_mistake_is_told_with_the_way_out(arguments: dict[str, Any], words: str) -> None:
    assert complaint({"title": "t", **arguments}) == f"{words} Nothing was done."


def test_a_key_is_never_shown_when_it_or_its_neighbour_is_wrong() -> None:
    both_wrong = complaint({"title": "t", "public_key": [MARKED], "secret_key": MARKED})
    neighbour_wrong = complaint({"title": "", "public_key": MARKED})
    assert both_wrong.startswith("public_key must be text. secret_key must be a whole number.")
    assert MARKED not in both_wrong + neighbour_wrong


def test_no_more_than_three_complaints_are_made_at_once() -> None:
    assert complaint({"title": "t", "tags": [1, 2, 3, 4]}).count("must be") == 3


def test_a_field_is_called_what_whoever_gave_it_calls_it() -> None:
    assert complaint({"title": "t", "tags": [5]}, tags="--tag") == "--tag must be text, not 5. Nothing was done."


def test_a_model_as_a_whole_may_be_wrong() -> None:
    assert complaint({}, type("Nothing", (CreateAudio,), {})).startswith("title is missing")


def test_an_argument_that_is_not_known_is_named_with_what_was_probably_meant() -> None:
    known = ["title", "tags", "qualities"]
    assert unknown({"title": 1, "tags": 2}, known) is None
    assert unknown({"quality": 1}, known) == (
        "There is no argument 'quality', so nothing was done. Did you mean qualities?"
    )
    assert unknown({"xyzzy": 1}, known) == (
        "There is no argument 'xyzzy', so nothing was done. It takes title, tags, qualities."
    )
