"""The skill that teaches agents to use this server, served by the server itself.

Skills over MCP (SEP-2640, extension ``io.modelcontextprotocol/skills``): ``skills/list``, ``skills/get`` and
``resources/directory/read``. Its files are plain resources too, for clients that know nothing of the extension.
"""

# No "from __future__ import annotations": pydantic reads the annotations at run time.

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import yaml
from mcp.server.context import ServerRequestContext
from mcp.server.extension import Extension, MethodBinding, ResourceBinding
from mcp.server.mcpserver.resources import TextResource
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INVALID_PARAMS,
    CacheableResult,
    PaginatedRequestParams,
    PaginatedResult,
    RequestParams,
    Resource,
)
from pydantic import BaseModel

from .foreign_text import harmless
from .settings import APP_NAME

MANIFEST = "SKILL.md"
ENCODING_REFERENCE = "references/encoding.md"

_MARKDOWN = "text/markdown"
_DIRECTORY = "inode/directory"
# The files change with the package only, so an answer keeps for a day.
_FRESH_MS = 24 * 3600 * 1000


class SkillResource(BaseModel):
    """A file as the listing names it: the SHA-256 and the length, in bytes, of what is served."""

    uri: str
    digest: str
    size: int


class SkillEntry(BaseModel):
    """A skill as the listing names it; ``frontmatter`` is the manifest's, every field as it was written."""

    uri: str
    frontmatter: dict[str, Any]
    resources: list[SkillResource]


class ListSkillsResult(PaginatedResult, CacheableResult):
    """What ``skills/list`` answers."""

    skills: list[SkillEntry]
    result_type: Literal["complete"] = "complete"


class SkillParams(RequestParams):
    """What ``skills/get`` is asked."""

    uri: str


class GetSkillResult(CacheableResult):
    """What ``skills/get`` answers."""

    skill: SkillEntry
    result_type: Literal["complete"] = "complete"


class DirectoryParams(PaginatedRequestParams):
    """What ``resources/directory/read`` is asked."""

    uri: str


class ReadDirectoryResult(PaginatedResult):
    """What ``resources/directory/read`` answers."""

    resources: list[Resource]
    result_type: Literal["complete"] = "complete"


@dataclass(frozen=True)
class SkillFile:
    """A file of the skill; ``path`` is relative to the skill's root."""

    path: PurePosixPath
    content: bytes

    @property
    def text(self) -> str:
        """Give its text, byte for byte what is on disk."""
        return self.content.decode()


@dataclass(frozen=True)
class Skill:
    """The skill's files, in the order of their paths."""

    files: tuple[SkillFile, ...]

    @classmethod
    def read(cls) -> "Skill":
        """Read the skill: from the installed package, or from the checkout that it is installed from."""
        here = Path(__file__).parent
        root = next(place for place in (here / "skill", here.parents[1] / "skills" / APP_NAME) if place.is_dir())
        paths = sorted(path for path in root.rglob("*.md") if path.is_file())
        return cls(
            tuple(SkillFile(PurePosixPath(path.relative_to(root).as_posix()), path.read_bytes()) for path in paths)
        )

    @cached_property
    def frontmatter(self) -> dict[str, Any]:
        """Give what stands between the manifest's two lines of ``---``."""
        _, header, _ = self.file(MANIFEST).text.split("---", 2)
        frontmatter: dict[str, Any] = yaml.safe_load(header)
        return frontmatter

    @property
    def entry(self) -> SkillEntry:
        """Give the skill as a listing names it."""
        resources = [
            SkillResource(
                uri=_uri(file.path),
                digest=f"sha256:{hashlib.sha256(file.content).hexdigest()}",
                size=len(file.content),
            )
            for file in self.files
        ]
        return SkillEntry(uri=_uri(MANIFEST), frontmatter=self.frontmatter, resources=resources)

    def file(self, path: str) -> SkillFile:
        """Give the file at ``path``."""
        return next(file for file in self.files if str(file.path) == path)

    def children(self, uri: str) -> list[Resource] | None:
        """Give what is directly in the directory at ``uri``; None if there is no such directory."""
        directories = {parent for file in self.files for parent in file.path.parents}
        directory = next((directory for directory in directories if _uri(directory) == uri), None)
        if directory is None:
            return None
        inner = sorted(child for child in directories if child.parent == directory and child != directory)
        return [
            *(_resource(file) for file in self.files if file.path.parent == directory),
            *(Resource(uri=_uri(child), name=child.name, mime_type=_DIRECTORY) for child in inner),
        ]


def _uri(path: PurePosixPath | str) -> str:
    """Give the address of a file or directory of the skill; a directory's has no slash at its end."""
    return f"skill://{PurePosixPath(APP_NAME, path)}"


def _resource(file: SkillFile) -> Resource:
    return Resource(uri=_uri(file.path), name=file.path.name, mime_type=_MARKDOWN, size=len(file.content))


class Skills(Extension):
    """The extension, with this one skill."""

    identifier = "io.modelcontextprotocol/skills"

    def __init__(self, skill: Skill) -> None:
        self._skill = skill

    def settings(self) -> dict[str, Any]:
        """Say that directories can be read."""
        return {"directoryRead": True}

    def resources(self) -> Sequence[ResourceBinding]:
        """Give the skill's files; the manifest under the skill's name and with its description."""
        about = self._skill.frontmatter
        return [
            ResourceBinding(
                TextResource(
                    uri=_uri(file.path),
                    name=about["name"] if str(file.path) == MANIFEST else str(file.path),
                    description=about["description"] if str(file.path) == MANIFEST else None,
                    mime_type=_MARKDOWN,
                    text=file.text,
                )
            )
            for file in self._skill.files
        ]

    def methods(self) -> Sequence[MethodBinding]:
        """Give the extension's three methods."""
        return [
            MethodBinding("skills/list", PaginatedRequestParams, self._list),
            MethodBinding("skills/get", SkillParams, self._get),
            MethodBinding("resources/directory/read", DirectoryParams, self._read_directory),
        ]

    async def _list(self, _: ServerRequestContext[Any, Any], __: PaginatedRequestParams) -> ListSkillsResult:
        return ListSkillsResult(skills=[self._skill.entry], ttl_ms=_FRESH_MS, cache_scope="public")

    async def _get(self, _: ServerRequestContext[Any, Any], params: SkillParams) -> GetSkillResult:
        entry = self._skill.entry
        if params.uri != entry.uri:
            raise MCPError(INVALID_PARAMS, f"There is no skill at {harmless(params.uri)}; there is {entry.uri}.")
        return GetSkillResult(skill=entry, ttl_ms=_FRESH_MS, cache_scope="public")

    async def _read_directory(self, _: ServerRequestContext[Any, Any], params: DirectoryParams) -> ReadDirectoryResult:
        children = self._skill.children(params.uri)
        if children is None:
            raise MCPError(
                INVALID_PARAMS, f"There is no directory at {harmless(params.uri)}; the skill's is {_uri('')}."
            )
        return ReadDirectoryResult(resources=children)
