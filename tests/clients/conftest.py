from __future__ import annotations

import shutil
import subprocess
from typing import TYPE_CHECKING, Protocol

import anyio
import pytest

from aioz_stream_audio.settings import APP_NAME
from clients.workbench import ROOT, Workbench

if TYPE_CHECKING:
    from pathlib import Path

_DONE = pytest.StashKey[list[tuple[str, str, str]]]()


class Tell(Protocol):
    """Puts into the summary what a client did."""

    def __call__(self, client: str, version: str, did: str) -> None: ...


def pytest_configure(config: pytest.Config) -> None:
    config.stash[_DONE] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    rows = config.stash[_DONE]
    if not rows:
        return
    terminalreporter.section("clients")
    widths = [max(len(row[column]) for row in rows) for column in range(2)]
    for client, version, did in rows:
        terminalreporter.line(f"{client:<{widths[0]}}  {version:<{widths[1]}}  {did}")


@pytest.fixture(scope="session")
def tell(request: pytest.FixtureRequest) -> Tell:
    rows = request.config.stash[_DONE]

    def tell(client: str, version: str, did: str) -> None:
        rows.append((client, version, did))

    return tell


@pytest.fixture
def workbench(tmp_path: Path) -> Workbench:
    home = tmp_path / "home"
    home.mkdir()
    return Workbench(home)


@pytest.fixture(scope="session")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a clone of this repository holds, and nothing that was installed or made here."""
    directory = tmp_path_factory.mktemp("clone") / APP_NAME
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True, text=True).stdout
    for name in filter(None, listed.split("\0")):
        (directory / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / name, directory / name, follow_symlinks=False)
    return directory


@pytest.fixture(scope="session")
def wheel(checkout: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("wheel")
    anyio.run(Workbench(directory).run, "uv", "build", "--wheel", "--out-dir", directory, checkout)
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="session")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The command as its users have it: the wheel, in an environment of its own."""
    directory = tmp_path_factory.mktemp("installed")
    workbench = Workbench(directory)
    anyio.run(workbench.run, "uv", "venv", directory / "venv")
    anyio.run(workbench.run, "uv", "pip", "install", "--compile-bytecode", "--python", directory / "venv", wheel)
    return directory / "venv" / "bin" / APP_NAME


@pytest.fixture
def keys(environ: dict[str, str]) -> dict[str, str]:
    """The environment of a server that uploads to the sandbox."""
    return environ
