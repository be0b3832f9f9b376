"""What somebody else wrote, made fit to show to a person or a model: text as a short line, links as plain addresses."""

from __future__ import annotations

import re
import unicodedata
from urllib.parse import urlsplit

TEXT_MAX_LENGTH = 300
LINK_MAX_LENGTH = 4096

# The characters of an address (RFC 3986, section 2). All others are sent encoded, so a link that has one was made to
# look like what it is not, or to do something to a terminal.
_ADDRESS = re.compile(r"https?://[A-Za-z0-9\-._~:/?#\[\]@!$&'()*+,;=%]+", re.IGNORECASE)
_WORD = re.compile(r"[\w-]{1,40}")
_QUOTED_MAX = 80
# They join the letters of some scripts and the parts of some emoji; beside a plain letter they only hide something.
_JOINERS = "\u200c\u200d"


def harmless(text: str, longest: int = TEXT_MAX_LENGTH) -> str:
    """Make what somebody else wrote fit to show: one line of at most ``longest`` characters, none of them invisible."""
    text = text[: 4 * longest]
    shown = (_visible(char, text[max(0, at - 1) : at], text[at + 1 : at + 2]) for at, char in enumerate(text))
    line = " ".join("".join(shown).split())
    return line if len(line) <= longest else line[: longest - 1] + "…"


def _visible(char: str, before: str, after: str) -> str:
    category = unicodedata.category(char)
    if category == "Cc" or category[0] == "Z":
        return " "
    if char in _JOINERS and _may_be_joined(before) and _may_be_joined(after):
        return char
    return "" if category[0] == "C" else char


def _may_be_joined(char: str) -> bool:
    return not char.isascii() and unicodedata.category(char)[0] not in "CZ"


def quoted(text: str) -> str:
    """Give somebody else's text for a sentence of ours: a word as it is, and anything longer in quotation marks.

    So it cannot pass for a sentence of our own, such as an instruction to a model.
    """
    line = harmless(text, _QUOTED_MAX)
    return line if _WORD.fullmatch(line) else '"' + line.replace('"', "'") + '"'


def is_link(text: str) -> bool:
    """Whether ``text`` is a web address that can be shown and opened as it is.

    ``http:`` will do as well: which of the two AIOZ Stream serves from is its to choose, and no key goes there. One
    that names a user is refused, for it is made to be taken for another host's.
    """
    if len(text) > LINK_MAX_LENGTH or not _ADDRESS.fullmatch(text):
        return False
    try:
        address = urlsplit(text)
        return bool(address.hostname) and address.username is None and address.port != 0
    except ValueError:
        return False
