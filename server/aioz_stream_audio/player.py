"""The player page: one file, shown by hosts inside a conversation, and standing alone where it is given a link."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

PAGE = Path(__file__).with_name("player.html")

_NOTHING_GIVEN = '<script id="given" type="application/json">null</script>'


def page_of(link: Mapping[str, object], script: str = "") -> str:
    """Give the page that stands alone and shows ``link``; blocks.

    Args:
        link: what the tool get_audio_link gives of an audio.
        script: JavaScript to run before the page's own; ``globalThis.playDash(audio, url)`` lets it play DASH.
    """
    # Inside a script element only "<" could end it (HTML, section 13.1.2).
    given = json.dumps(link).replace("<", "\\u003c")
    page = PAGE.read_text("utf-8")
    return page.replace(
        _NOTHING_GIVEN, f'<script id="given" type="application/json">{given}</script>\n<script>\n{script}</script>'
    )
