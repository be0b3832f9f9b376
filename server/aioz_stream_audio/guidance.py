"""What agents are told beside the tools: the server's instructions, a guided conversation, and what can be encoded."""

from __future__ import annotations

from .models import BIT_RATE_MAX, BIT_RATE_MIN, CONTAINERS, PRESET_BIT_RATES, PRESET_SAMPLE_RATES, SAMPLE_RATES

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


def encoding_reference() -> str:
    """Give what a quality of a custom upload can be, as Markdown. The tools' schemas allow the same, no more."""
    presets = "\n".join(
        f"| `{preset}` | {bit_rate:,} bit/s | {PRESET_SAMPLE_RATES[preset]:,} Hz |"
        for preset, bit_rate in PRESET_BIT_RATES.items()
    )
    formats = "\n".join(
        f"| `{kind}` | {' or '.join(f'`{container}`' for container in containers)} |"
        for kind, containers in CONTAINERS.items()
    )
    return f"""\
# What AIOZ Stream can make of an audio file

A custom upload names one or more `qualities`; each becomes a stream. A default upload names none: AIOZ Stream chooses.

## Presets (`resolution`)

What `audio_config` leaves out is filled in by the preset:

| preset | `bitrate` | `sample_rate` |
|---|---|---|
{presets}

## Streaming formats (`type`)

| `type` | `container_type`, the first by default |
|---|---|
{formats}

HLS plays nearly everywhere and is the default. Audio on AIOZ Stream has streaming links only, no MP4 to download, and a
DASH link only where a quality of type `dash` was asked for.

## `audio_config`

| field | values | default |
|---|---|---|
| `codec` | `aac` | `aac` |
| `bitrate` | {BIT_RATE_MIN:,} to {BIT_RATE_MAX:,} bit/s; `"320k"` is taken for 320000 | by preset |
| `sample_rate` | {", ".join(map(str, SAMPLE_RATES))} Hz | by preset |
| `channels` | `"2"` for stereo, `"1"` for mono; a mono file may be refused with `"2"` | `"2"` |
| `language` | a BCP 47 code, such as `en`, `vi` or `pt-BR` | none |
| `index` | which audio track of the file, counted from 0 | 0 |

Some accounts are capped at 256,000 bit/s; AIOZ Stream's own message says so then.

## Which to choose

| for | `bitrate` | `sample_rate` |
|---|---|---|
| speech, podcasts | 64,000 to 128,000 | 22,050 or 32,000 |
| music, standard | 128,000 to 192,000 | 44,100 or 48,000 |
| music, high quality | 192,000 to 256,000 | 44,100 or 48,000 |
| music, highest quality | 256,000 to 320,000 | 44,100 or 48,000 |

More than the source has gains nothing: a recording at 128 kbit/s does not improve at 320.
"""
