from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

import aioz_stream_audio

# A name that goes, or changes, breaks somebody's program: that is for a new major version, and for the changelog.
NAMES = [
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


def test_the_librarys_public_names_are_these() -> None:
    assert aioz_stream_audio.__all__ == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_every_public_name_can_be_imported_and_knows_where_it_lives(name: str) -> None:
    value = getattr(aioz_stream_audio, name)
    assert isinstance(value, str) or value.__module__.startswith("aioz_stream_audio.")


def test_a_name_that_is_not_there_is_an_attribute_error_that_names_it() -> None:
    with pytest.raises(AttributeError, match=r"module 'aioz_stream_audio' has no attribute 'nothing'"):
        _ = aioz_stream_audio.nothing


def test_importing_the_package_imports_none_of_its_modules_nor_anything_they_need() -> None:
    program = (
        "import sys; before = set(sys.modules); import aioz_stream_audio; after = set(sys.modules) - before; "
        "assert 'aioz_stream_audio' in after; "
        "sys.exit(' '.join(name for name in after if name.startswith('aioz_stream_audio.') "
        "or name.split('.')[0] in {'anyio', 'httpx2', 'mcp', 'pydantic', 'typer', 'rich', 'av'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stderr) == (1, "\n")


def test_importing_the_module_that_python_m_runs_runs_nothing() -> None:
    import_module("aioz_stream_audio.__main__")
