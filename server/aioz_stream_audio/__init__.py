"""Put an audio file on AIOZ Stream, and get back a link that plays.

    async with open_uploads(Settings.from_environ(os.environ)) as uploads:
        source = await uploads.find("~/podcast.mp3")
        result = await publish(uploads, keys, source, CreateAudio(title="My Podcast"))
        print(result.hls_url)

Names are imported when they are first used, so that a command, or a server, loads only what it needs.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from .api import AiozStream, open_client
    from .errors import AiozStreamError
    from .mcp_server import build_server
    from .models import AudioConfig, CreateAudio, Media, Metadata, Quality
    from .publication import publish
    from .results import PublishedAudio
    from .settings import Keys, Settings
    from .source import Source, find_source
    from .transfer import Progress
    from .uploads import Uploads, open_uploads

_HOMES = {
    "AiozStream": "api",
    "AiozStreamError": "errors",
    "AudioConfig": "models",
    "CreateAudio": "models",
    "Keys": "settings",
    "Media": "models",
    "Metadata": "models",
    "Progress": "transfer",
    "PublishedAudio": "results",
    "Quality": "models",
    "Settings": "settings",
    "Source": "source",
    "Uploads": "uploads",
    "build_server": "mcp_server",
    "find_source": "source",
    "open_client": "api",
    "open_uploads": "uploads",
    "publish": "publication",
}

__all__ = [
    "AiozStream",
    "AiozStreamError",
    "AudioConfig",
    "CreateAudio",
    "Keys",
    "Media",
    "Metadata",
    "Progress",
    "PublishedAudio",
    "Quality",
    "Settings",
    "Source",
    "Uploads",
    "__version__",
    "build_server",
    "find_source",
    "open_client",
    "open_uploads",
    "publish",
]


def __getattr__(name: str) -> Any:  # noqa: ANN401 - a module's attribute may be anything
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
