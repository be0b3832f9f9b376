"""What agents are told beside the tools: the server's instructions and a guided conversation."""

from __future__ import annotations

INSTRUCTIONS = (
    "Puts an audio file of the user's on AIOZ Stream and brings back a streaming link. Chain the tools create_audio, "
    "upload_audio_file, complete_upload and get_audio_link; each result's next_step says what to do next. Ask the user "
    "for the file's path and a title, and whether the default upload will do or they want their own quality, bit rate, "
    "sample rate, tags or metadata. The API keys are normally configured in this server: call without them, and ask "
    "for them only if a tool says that they are missing. upload_audio_file can be called again at any time: it goes on "
    "where it stopped. Links appear some time after complete_upload, which starts transcoding."
)

ENCODING_REFERENCE_URI = "aioz-stream://encoding-reference"

_KEYS_CONFIGURED = "The API keys are configured in the server. Do not ask me for them."
_KEYS_MISSING = (
    "No API keys are configured in the server. Tell me to set STREAM_PUBLIC_KEY and STREAM_SECRET_KEY in its "
    "configuration and to restart it, because keys typed into a chat stay in its log. Only if I cannot do that, ask me "
    "for both, and pass them to every tool as public_key and secret_key."
)
_DEFAULT_OR_CUSTOM = (
    "Ask me: the default upload, which needs the title alone, or a custom one? For a custom one ask which of quality, "
    "bit rate, sample rate, format, language, description, tags, metadata and visibility I want"
)
_CALLS = (
    "Call create_audio once, upload_audio_file until its state is uploaded, complete_upload once, then get_audio_link "
    "with wait_seconds 45 until ready is true. Follow each result's next_step. While it uploads or transcodes, tell me "
    "how far it is."
)


def conversation(*, keys_configured: bool, path: str, title: str, wishes: str) -> str:
    """Give the user's message that begins a guided upload. What of it is empty, the agent is to ask for."""
    kind = f"A custom upload, with: {wishes}. Put that into create_audio's arguments" if wishes else _DEFAULT_OR_CUSTOM
    steps = [
        _KEYS_CONFIGURED if keys_configured else _KEYS_MISSING,
        f"The file: {path}" if path else "Ask me for the path of the audio file on the machine the server runs on.",
        f"The title: {title}" if title else "Ask me for the title; offer one made of the file's name.",
        f"{kind}; what can be encoded is in the resource {ENCODING_REFERENCE_URI}.",
        _CALLS,
        "Give me the stream's link, whole as it is, and the player link to listen in a browser.",
    ]
    numbered = "\n".join(f"{number}. {step}" for number, step in enumerate(steps, start=1))
    return f"Put an audio file of mine on AIOZ Stream and bring me back a link that plays.\n\n{numbered}"
