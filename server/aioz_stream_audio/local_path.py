"""From the name that a person or a model gave to a path, and the words for one that leads nowhere."""

from __future__ import annotations

import difflib
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Literal
from unicodedata import category, normalize
from urllib.request import url2pathname

from .errors import SourceNotFoundError, SourceRefusedError

GIVE_AUDIO = "Give a local audio file, such as MP3, M4A, FLAC, WAV or OGG."
_SHOWN_MAX = 300
_NAMES_MAX = 3
# Names worth mentioning; what a file is, its content decides.
_AUDIO_NAME = (
    r"(?is).*\.(mp[234]|m4[ab]|mov|3gp|aac|flac|wav|aiff?|og[ag]|opus|webm|mk[av]|wma|e?ac3|amr|au|caf|wv|ape)"
)
_URL = r"(?s)([A-Za-z][A-Za-z0-9+.-]+):(?=/)(?://([^/]*))?(.*)"
_QUOTES = r"""(?s)(["'`])(.+)\1|[\u2018\u201c<](.+)[\u2019\u201d>]"""
_SANDBOX = r"\W*(sandbox:/|/mnt/(user-)?data/)"
_WINDOWS = r"[A-Za-z]:[\\/]"
_ELSEWHERE = r"(file:)?\W*([A-Za-z]:[\\/]|/(Users|home)/)|\\\\"
_FORMS: tuple[Literal["NFC", "NFKC"], ...] = ("NFC", "NFKC")


def meant(given: str) -> Path:
    """Give the first reading of ``given`` that is there, or the likeliest one; absolute, links not resolved."""
    text = given.strip()
    if quoted := re.fullmatch(_QUOTES, text):
        text = quoted[2] or quoted[3]
    if not text.strip():
        raise SourceNotFoundError(f"No path was given, so nothing was sent. {GIVE_AUDIO}", path=Path(given))
    # A path dragged into a terminal has a backslash before each space.
    paths = [_as_stored(_local_path(reading)) for reading in (given, text, re.sub(r"\\(.)", r"\1", text))]
    return next((path for path in paths if os.path.lexists(path)), paths[1])


def _local_path(text: str) -> Path:
    """Give the path that ``text``, a path or a ``file:`` URL (RFC 8089), stands for; absolute."""
    if url := re.fullmatch(_URL, text):
        scheme, host, text = url[1].lower(), (url[2] or "").lower(), url[3]
        if scheme not in {"file", "sandbox"} or host not in {"", "localhost"}:
            raise SourceRefusedError(
                f"That is an address, and only local files are sent; nothing was. Download it first. {GIVE_AUDIO}",
                path=Path(text),
            )
        text = url2pathname(text)
    path = Path(text)
    with suppress(RuntimeError):  # there is no such user, so it is a name that begins with a tilde
        path = path.expanduser()
    return path.absolute()


def _as_stored(path: Path) -> Path:
    """Spell ``path`` as the file system does, where that differs only in Unicode's normal form or kind of space.

    What is there as it stands is left so. macOS decomposes accents, and puts narrow spaces into names.
    """
    stored = Path(path.anchor)
    for depth, name in enumerate(path.parts[1:], start=1):
        step = stored / name
        if not os.path.lexists(step):
            names = _names(stored)
            same = [other for form in _FORMS for other in names if normalize(form, other) == normalize(form, name)]
            if not same:
                return stored.joinpath(*path.parts[depth:])
            step = stored / same[0]
        stored = step
    return stored


def _names(directory: Path) -> list[str]:
    try:
        return sorted(os.listdir(directory))  # noqa: PTH208 - names are wanted, and surrogates kept
    except (OSError, ValueError):
        return []


def shown(path: str | Path) -> str:
    """Give a path as it can be shown in one line and sent as JSON: what does not print replaced, the middle cut out."""
    unfit = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    text = "".join("\N{REPLACEMENT CHARACTER}" if category(c) in unfit else c for c in str(path))
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX // 2]}…{text[-_SHOWN_MAX // 2 :]}"


def not_found(given: str, path: Path) -> SourceNotFoundError:
    """Make the error for ``given``, taken for ``path``: with what may have been meant, or why it is not there."""
    near = difflib.get_close_matches(path.name, audio_names(path.parent), _NAMES_MAX, cutoff=0.5)
    if re.match(_SANDBOX, given):
        advice = "Such a path is in the chat host's own sandbox, which this server cannot see: ask for the path on the "
        advice += "machine where this server runs."
    elif near:
        advice = f"Near it: {listed(near)}."
    elif re.match(_ELSEWHERE, given):
        advice = "Check the path; if it is on another machine, copy the file to the one where this server runs."
    else:
        advice = "Check it, and give the whole path."
    where = given if re.match(_WINDOWS, given) and not path.drive else path
    return SourceNotFoundError(f"There is nothing at {shown(where)}, so nothing was sent. {advice}", path=path)


def audio_names(directory: Path) -> list[str]:
    """Give the names in ``directory`` that look like audio; none if it cannot be read."""
    return [name for name in _names(directory) if re.fullmatch(_AUDIO_NAME, name)]


def listed(names: list[str]) -> str:
    """Write names as a list to show."""
    return ", ".join(f'"{shown(name)}"' for name in names)
