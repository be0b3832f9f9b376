"""The MCP server: four tools that put an audio file on AIOZ Stream and bring back its link; a prompt, a reference."""

# No "from __future__ import annotations": the SDK reads the tools' annotations at run time.

import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Annotated, Any

from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.prompts import Prompt
from mcp.server.mcpserver.resources import TextResource
from mcp.server.mcpserver.tools import Tool
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, GetPromptResult, InputRequiredResult, ToolAnnotations
from pydantic import Field, ValidationError

from . import __version__, transcoding
from .apps import SHOWN_IN_PLAYER, offer_upload_progress, player
from .errors import AiozStreamError
from .foreign_text import quoted
from .guidance import ENCODING_REFERENCE_URI, INSTRUCTIONS, conversation
from .inputs import explain, unknown
from .models import AUDIO_ID, METADATA_MAX, CreateAudio, Description, Media, Metadata, Quality, Tags, Title, optional
from .results import AudioLink, CompletedUpload, CreatedAudio, UploadedFile
from .settings import APP_NAME, Settings
from .skill import ENCODING_REFERENCE, Skill, Skills
from .transfer import Progress
from .uploads import Uploads, open_uploads

# Most clients give up on a call after 60 s.
WAIT_SECONDS_MAX = 55

AudioId = Annotated[str, Field(pattern=f"^{AUDIO_ID.pattern}$", description="The audio_id that create_audio gave.")]
Key = Annotated[str | None, optional(description="Only if the server has no keys configured.")]
WaitSeconds = Annotated[float, Field(ge=0, le=WAIT_SECONDS_MAX)]


async def create_audio(
    ctx: Context[Uploads],
    title: Annotated[Title, Field(description="What listeners see: 1 to 255 bytes of UTF-8.")],
    description: Annotated[Description | None, optional(description="Up to 1,000 characters.")] = None,
    is_public: Annotated[bool | None, optional(description="False: the links carry a token.")] = None,
    tags: Annotated[Tags | None, optional(description="Such as podcast; a comma separates two.")] = None,
    metadata: Annotated[
        Annotated[list[Metadata], Field(max_length=METADATA_MAX)] | None, optional(description="Stored with the audio.")
    ] = None,
    qualities: Annotated[
        list[Quality] | None, optional(description="Streams to make; left out, AIOZ Stream chooses.")
    ] = None,
    public_key: Key = None,
    secret_key: Key = None,
) -> CreatedAudio:
    """Create an audio object on AIOZ Stream, ready for its file. A title alone is the default upload; anything more makes it a custom one. Each call creates an object, so call it once for each file."""  # noqa: E501 - the model reads it as one line
    uploads = ctx.request_context.lifespan_context
    audio = CreateAudio(
        title=title,
        description=description,
        is_public=is_public,
        tags=tags,
        metadata=metadata,
        qualities=qualities,
    )
    media = await uploads.api(uploads.settings.keys(public_key, secret_key)).create(audio)
    return CreatedAudio(
        audio_id=media.id,
        title=media.title or audio.title,
        mode=audio.mode,
        next_step=f"Call upload_audio_file with audio_id {media.id} and the path of the user's audio file.",
    )


async def upload_audio_file(
    ctx: Context[Uploads],
    audio_id: AudioId,
    path: Annotated[str, Field(description="Audio file on the machine this server runs on: path or file:// URL.")],
    wait_seconds: Annotated[WaitSeconds, Field(description="How long to wait; the upload goes on after that.")] = 45,
    public_key: Key = None,
    secret_key: Key = None,
) -> UploadedFile:
    """Upload an audio file's bytes to an audio object, in parts. Starts the upload, joins it if it runs, or goes on with it if it stopped; answers when it is done, or when wait_seconds are over with the upload going on. Calling it again is always safe and sends nothing twice."""  # noqa: E501 - likewise
    uploads = ctx.request_context.lifespan_context
    keys = uploads.settings.keys(public_key, secret_key)
    source = await uploads.find(path)
    told = -1

    async def tell(progress: Progress) -> None:
        # A part that begins again takes its bytes back, but progress over MCP may only rise.
        nonlocal told
        if progress.sent_bytes > told:
            told = progress.sent_bytes
            await ctx.report_progress(told, progress.size_bytes)

    progress = await uploads.upload(keys, audio_id, source, wait_seconds=wait_seconds, tell=tell)
    record = await uploads.journal.get(audio_id)
    if record is not None and record.complete != "unsent":
        next_step = f"It was uploaded and completed before: call get_audio_link with audio_id {audio_id}."
    elif progress.state == "uploaded":
        next_step = f"Call complete_upload with audio_id {audio_id}."
    else:
        next_step = (
            f"Still uploading, {100 * progress.sent_bytes // progress.size_bytes} % sent: call upload_audio_file again "
            "with the same audio_id and path to wait for the rest."
        )
    return UploadedFile(**progress.model_dump(), next_step=next_step)


async def complete_upload(
    ctx: Context[Uploads], audio_id: AudioId, public_key: Key = None, secret_key: Key = None
) -> CompletedUpload:
    """Tell AIOZ Stream that the whole file has arrived, which starts transcoding. Refuses while parts are missing. Called again, it reports the status and sends nothing."""  # noqa: E501 - likewise
    uploads = ctx.request_context.lifespan_context
    api = uploads.api(uploads.settings.keys(public_key, secret_key))
    media = await transcoding.complete(api, uploads.journal, audio_id)
    ready = f"It is ready: call get_audio_link with audio_id {audio_id} for its links."
    return CompletedUpload(
        audio_id=audio_id, status=media.status, next_step=ready if media.ready else _next_step(media)
    )


async def get_audio_link(
    ctx: Context[Uploads],
    audio_id: AudioId,
    wait_seconds: Annotated[WaitSeconds, Field(description="How long to wait for transcoding.")] = 0,
    public_key: Key = None,
    secret_key: Key = None,
) -> AudioLink:
    """Get an audio's streaming links, and how far its transcoding is. With wait_seconds, waits that long at the most for the audio to be ready."""  # noqa: E501 - likewise
    uploads = ctx.request_context.lifespan_context
    api = uploads.api(uploads.settings.keys(public_key, secret_key))
    media = await transcoding.wait_until_ready(api, audio_id, wait_seconds)
    return AudioLink.of(media, _next_step(media))


async def upload_audio(
    ctx: Context[Uploads],
    path: Annotated[str, Field(description="The audio file, if it is known already.")] = "",
    title: Annotated[str, Field(description="What listeners see, if it is known already.")] = "",
    wishes: Annotated[str, Field(description="For a custom upload: quality, bit rate, tags and so on, in words.")] = "",
) -> str:
    """Put an audio file on AIOZ Stream step by step: the keys, the file, default or custom, the upload, the link."""
    configured = ctx.request_context.lifespan_context.settings.keys_configured
    return conversation(keys_configured=configured, path=path, title=title, wishes=wishes)


def _next_step(media: Media) -> str:
    if media.ready:
        kind = "hls" if media.hls_url else "dash"
        return f"Done: give the user {kind}_url, whole as it is, and {kind}_player_url to listen in a browser."
    if media.status == "fail":
        return (
            "AIOZ Stream could not make a stream of it. Tell the user, and start over with create_audio; a source that "
            'does not play, or more channels than it has (channels "1" is for mono), are common reasons.'
        )
    if media.status in transcoding.DELETED_STATUSES:
        return "The audio was deleted. Tell the user; to upload it again, start over with create_audio."
    if media.status in transcoding.EMPTY_STATUSES:
        return (
            f"AIOZ Stream still waits for it. If complete_upload was not called for {media.id}, upload the file and "
            "call it; if it was, call get_audio_link again in a minute."
        )
    if media.done:
        return (
            "AIOZ Stream says that it is done, but gives no link. Call get_audio_link again in a minute; if there is "
            f"still none, tell the user to look at audio {media.id} in AIOZ Stream's dashboard."
        )
    early = " A link is there already, but not every quality." if media.hls_url or media.assets.dash_url else ""
    return (
        f"Not ready yet: its status is {quoted(media.status)}.{early} Tell the user, and call get_audio_link with "
        f"audio_id {media.id} and wait_seconds 45 until ready is true; a long file can take minutes."
    )


class _AudioTool(Tool):
    """A tool whose failures are told in this project's words, and never with the value of an argument that is a key."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: FBT001, FBT002 - the SDK's
    ) -> Any:  # noqa: ANN401 - the SDK's
        if strange := unknown(arguments, self.parameters["properties"]):
            raise ToolError(strange)
        try:
            return await super().run(arguments, context, convert_result)
        except ToolError as error:
            match error.__cause__:
                case ValidationError() as cause:
                    raise ToolError(explain(cause)) from None
                case AiozStreamError() as cause:
                    raise ToolError(str(cause)) from None
                case _:
                    raise


class _AudioServer(MCPServer[Uploads]):
    """A server that says what was wrong with a request for a prompt, where the SDK logs a traceback with its values."""

    async def get_prompt(
        self, name: str, arguments: dict[str, Any] | None = None, context: Context[Uploads, Any] | None = None
    ) -> GetPromptResult | InputRequiredResult:
        """Give a prompt's messages; one that is not there, or arguments it does not take, are invalid parameters."""
        prompt = next((prompt for prompt in await self.list_prompts() if prompt.name == name), None)
        if prompt is None:
            raise MCPError(INVALID_PARAMS, f"There is no such prompt; there is {upload_audio.__name__}.")
        if strange := unknown(arguments or {}, [argument.name for argument in prompt.arguments or ()]):
            raise MCPError(INVALID_PARAMS, strange)
        return await super().get_prompt(name, arguments, context)


def _tools() -> list[Tool]:
    tools: list[Tool] = [
        _AudioTool.from_function(create_audio, title="Create an audio", annotations=_writes(idempotent=False)),
        _AudioTool.from_function(
            upload_audio_file,
            title="Upload an audio file",
            annotations=_writes(idempotent=True),
            meta=SHOWN_IN_PLAYER,
        ),
        _AudioTool.from_function(complete_upload, title="Complete an upload", annotations=_writes(idempotent=True)),
        _AudioTool.from_function(
            get_audio_link,
            title="Get an audio's link",
            annotations=ToolAnnotations(read_only_hint=True, open_world_hint=True),
            meta=SHOWN_IN_PLAYER,
        ),
    ]
    for tool in tools:
        tool.parameters["additionalProperties"] = False
        _drop_titles(tool.parameters)
        _drop_titles(tool.output_schema)
    return tools


def _drop_titles(schema: object) -> None:
    """Take the titles that pydantic makes of names, such as "Audio Id", out of a JSON schema: they say nothing new."""
    if isinstance(schema, dict):
        if isinstance(schema.get("title"), str):
            del schema["title"]
        for value in schema.values():
            _drop_titles(value)


def _writes(*, idempotent: bool) -> ToolAnnotations:
    return ToolAnnotations(
        read_only_hint=False, destructive_hint=False, idempotent_hint=idempotent, open_world_hint=True
    )


def build_server(settings: Settings) -> MCPServer[Uploads]:
    """Make the server. It opens nothing before it runs, and closes what it opened when it ends."""

    @asynccontextmanager
    async def lifespan(_: MCPServer[Uploads]) -> AsyncIterator[Uploads]:
        async with open_uploads(settings) as uploads:
            yield uploads

    skill = Skill.read()
    with _plain_logging():
        server = _AudioServer(
            APP_NAME,
            title="Audio upload to AIOZ Stream",
            instructions=INSTRUCTIONS,
            version=__version__,
            tools=_tools(),
            resources=[_encoding_reference(skill)],
            lifespan=lifespan,
            log_level=settings.log_level,
            extensions=[Skills(skill), player(settings.api_url)],
        )
    offer_upload_progress(server)
    server.add_prompt(Prompt.from_function(upload_audio, title="Upload audio to AIOZ Stream"))
    return server


def _encoding_reference(skill: Skill) -> TextResource:
    return TextResource(
        uri=ENCODING_REFERENCE_URI,
        name="encoding-reference",
        title="What AIOZ Stream can encode",
        description="Presets, streaming formats, bit rates and sample rates of a custom upload, and which to choose.",
        mime_type="text/markdown",
        text=skill.file(ENCODING_REFERENCE).text,
    )


@contextmanager
def _plain_logging() -> Iterator[None]:
    """Keep the SDK from importing rich, which it logs through where it can: a start is faster without it."""
    absent = {name: None for name in ("rich.console", "rich.logging") if name not in sys.modules}
    sys.modules.update(absent)  # type: ignore[arg-type] # None is how an import is told that there is no such module
    try:
        yield
    finally:
        for name in absent:
            del sys.modules[name]
