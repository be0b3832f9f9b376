"""What was wrong with an argument, in words that help whoever gave it, and never with a key's value."""

from __future__ import annotations

import difflib
import functools
import re
from typing import TYPE_CHECKING, Any

from .foreign_text import harmless
from .models import AudioConfig, Quality

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

_SECRET = frozenset({"public_key", "secret_key"})
_SHOWN_MAX = 60
# What a value that has to match a pattern is, in words.
_FORMS = {
    "audio_id": "must be the audio_id that create_audio gave",
    "language": "must be a BCP 47 code, such as en or pt-BR",
}
# What a value that holds others looks like.
_EXAMPLES = {
    "qualities": '[{"resolution": "highest"}]',
    "metadata": '[{"key": "season", "value": "1"}]',
    "tags": '["podcast", "tech"]',
    "audio_config": '{"bitrate": 320000}',
}
# What pydantic says of a value of another kind, in words of ours.
_RULES = {
    "string_type": "must be text",
    "string_unicode": "must be text that UTF-8 can carry",
    **dict.fromkeys(("int_parsing", "int_type", "int_from_float"), "must be a whole number"),
    **dict.fromkeys(("float_parsing", "float_type"), "must be a number"),
    **dict.fromkeys(("bool_parsing", "bool_type"), "must be true or false"),
}
# What is left of its words once ours stand in them.
_REWORDED = {
    "Input should be": "must be",
    "String should have": "must have",
    "List should have": "must have",
    "greater than or equal to": "at least",
    "less than or equal to": "at most",
    " after validation": "",
}
_SAY_ENOUGH = frozenset({"value_error", "extra_forbidden", "string_too_long", "string_unicode"})


def unknown(arguments: Mapping[str, Any], known: Iterable[str]) -> str | None:
    """Say which arguments are not known, and what may have been meant; None if all are."""
    known = list(known)
    for name in arguments:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1)
            if "qualities" in known and name in {*Quality.model_fields, *AudioConfig.model_fields}:
                meant = f"It belongs into qualities, such as {_nested(name)}."
            else:
                meant = f"Did you mean {near[0]}?" if near else f"It takes {', '.join(known)}."
            return f"There is no argument {harmless(name)[:_SHOWN_MAX]!r}, so nothing was done. {meant}"
    return None


def _nested(name: str) -> str:
    """Give an example of where ``name``, a field of a quality or of its ``audio_config``, belongs."""
    if name == "audio_config" or name in AudioConfig.model_fields:
        return '[{"resolution": "highest", "audio_config": {"bitrate": 320000}}]'
    return '[{"resolution": "highest", "type": "hls"}]'


def explain(error: ValidationError, *, names: Mapping[str, str] | None = None) -> str:
    """Say what the arguments were, and what they must be; nothing was done with them.

    ``names`` gives what fields are called where they were given, if not by their own names.
    """
    details = error.errors(include_url=False, include_context=True)
    return f"{' '.join(_sentence(detail, names or {}) for detail in details[:3])} Nothing was done."


def _sentence(detail: ErrorDetails, names: Mapping[str, str]) -> str:
    name = next((names[step] for step in map(str, detail["loc"]) if step in names), _name(detail["loc"]))
    rule = _rule(detail)
    if detail["type"] == "missing":
        return f"{name} is missing."
    value = detail["input"]
    if name in _SECRET or not isinstance(value, str | int | float) or detail["type"] in _SAY_ENOUGH:
        return f"{name} {rule}."
    shown = repr(harmless(value)[:_SHOWN_MAX]) if isinstance(value, str) else value
    return f"{name} {rule}, not {shown}.{_meant(detail)}"


def _meant(detail: ErrorDetails) -> str:
    """Ask whether the nearest of the allowed words was meant, where there is one."""
    allowed = re.findall("'([^']+)'", str(detail.get("ctx", {}).get("expected", "")))
    near = difflib.get_close_matches(str(detail["input"]), allowed, n=1)
    return f" Did you mean {near[0]}?" if near else ""


def _name(location: tuple[int | str, ...]) -> str:
    """Write ``("qualities", 0, "type")`` as ``qualities[0].type``."""
    name = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in location)
    return name.removeprefix(".") or "The combination"


def _rule(detail: ErrorDetails) -> str:
    context = detail.get("ctx", {})
    match detail["type"]:
        case "value_error":
            return str(context["error"])
        case "literal_error":
            return f"must be {context['expected']}"
        case "string_pattern_mismatch":
            return _FORMS[str(detail["loc"][-1])]
        case "greater_than_equal" if detail["loc"][-1] == "bitrate":
            return f"is in bit/s and must be at least {context['ge']} (320k is 320000)"
        case "model_type" | "list_type":
            return f"must look like {_example(detail['loc'])}"
        case "extra_forbidden":
            nested = detail["loc"][-1] in AudioConfig.model_fields and "audio_config" not in detail["loc"]
            return "belongs into audio_config" if nested else "is not known here"
        case kind if kind in _RULES:
            return _RULES[kind]
        case _:
            message = detail["msg"].removesuffix(f", not {context.get('actual_length')}")
            return functools.reduce(lambda said, words: said.replace(*words), _REWORDED.items(), message)


def _example(location: tuple[int | str, ...]) -> str:
    """Give an example of what belongs at ``location``: a whole list, or one of its items."""
    name = next(step for step in reversed(location) if isinstance(step, str))
    return _EXAMPLES[name] if location[-1] == name else _EXAMPLES[name].strip("[]")
