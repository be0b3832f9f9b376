"""Everything this package raises on purpose, as one tree.

    AiozStreamError
    ├── SettingsError               an environment variable has a value it cannot have
    ├── KeysMissingError            no API keys anywhere
    ├── InputError                  an argument or option has a value it cannot have
    ├── SourceError                 the local file
    │   ├── SourceNotFoundError     nothing at that path
    │   ├── SourceRefusedError      something there that is not sent: a directory, a device, outside the allowed ones
    │   ├── NotAudioError           a file whose content is not audio
    │   └── SourceChangedError      the file is not the one whose parts were sent
    ├── ApiError                    a call to AIOZ Stream
    │   ├── NotConnectedError       it never arrived, so nothing was done
    │   ├── NoAnswerError           it may have arrived; nobody knows what was done
    │   ├── AnswerError             an answer came that makes no sense
    │   └── StatusError             an answer came that says no
    │       ├── KeysRefusedError    401
    │       ├── KeysNotAllowedError 403
    │       └── AudioNotFoundError  404, or deleted
    ├── UploadError                 one upload
    │   ├── PartError               a part could not be sent
    │   ├── PartsMissingError       complete was asked for too early
    │   ├── UploadBusyError         another process is sending it
    │   └── TranscodingError        AIOZ Stream could not make a stream of it
    ├── PlaybackError               a link does not play
    └── JournalError                the record of uploads cannot be used

A message says what happened, what was and was not done, and what to do next. None ever holds a key. Facts that a
program may want are attributes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class AiozStreamError(Exception):
    """Root of everything this package raises on purpose; ``str()`` is fit to show to a person."""


class SettingsError(AiozStreamError):
    """An environment variable has a value it cannot have; ``variable`` is its name."""

    def __init__(self, message: str, *, variable: str) -> None:
        super().__init__(message)
        self.variable = variable


class KeysMissingError(AiozStreamError):
    """No API keys were configured or given."""


class InputError(AiozStreamError):
    """An argument or option has a value it cannot have; nothing was sent."""


class SourceError(AiozStreamError):
    """The local file cannot be sent; ``path`` is where it was looked for."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path


class SourceNotFoundError(SourceError):
    """There is nothing at that path."""


class SourceRefusedError(SourceError):
    """There is something at that path that is never sent."""


class NotAudioError(SourceError):
    """The file's content is not audio, nor a container that carries it."""


class SourceChangedError(SourceError):
    """The file is no longer the one whose parts were sent."""


class ApiError(AiozStreamError):
    """A call to AIOZ Stream failed: ``call`` (``create``, ``part``, ``complete`` or ``detail``) to ``host``."""

    def __init__(self, message: str, *, call: str, host: str) -> None:
        super().__init__(message)
        self.call = call
        self.host = host


class NotConnectedError(ApiError):
    """The call never arrived, so nothing was done."""


class NoAnswerError(ApiError):
    """The call may have arrived, but no answer came back."""


class AnswerError(ApiError):
    """An answer came that is not what the API gives; the call may have done its work."""


class StatusError(ApiError):
    """AIOZ Stream said no: ``status`` is the HTTP status, ``api_message`` its words made harmless.

    ``retry_after`` is how many seconds it asked to be left alone, or None.
    """

    def __init__(
        self, message: str, *, call: str, host: str, status: int, api_message: str, retry_after: float | None
    ) -> None:
        super().__init__(message, call=call, host=host)
        self.status = status
        self.api_message = api_message
        self.retry_after = retry_after


class KeysRefusedError(StatusError):
    """401: the host does not know these keys."""


class KeysNotAllowedError(StatusError):
    """403: the keys are known, but not allowed to do this."""


class AudioNotFoundError(StatusError):
    """404, or the API's word that it is deleted: there is no such audio object under these keys."""


class UploadError(AiozStreamError):
    """One upload cannot go on; ``audio_id`` is its audio object."""

    def __init__(self, message: str, *, audio_id: str) -> None:
        super().__init__(message)
        self.audio_id = audio_id


class PartError(UploadError):
    """A part could not be sent; ``index`` counts from 0. What arrived is kept."""

    def __init__(self, message: str, *, audio_id: str, index: int) -> None:
        super().__init__(message, audio_id=audio_id)
        self.index = index


class PartsMissingError(UploadError):
    """Complete was asked for while ``parts_done`` of ``parts_total`` parts had arrived."""

    def __init__(self, message: str, *, audio_id: str, parts_done: int, parts_total: int) -> None:
        super().__init__(message, audio_id=audio_id)
        self.parts_done = parts_done
        self.parts_total = parts_total


class UploadBusyError(UploadError):
    """Another process is sending this upload."""


class TranscodingError(UploadError):
    """AIOZ Stream could not make a stream of it; ``status`` is what it says."""

    def __init__(self, message: str, *, audio_id: str, status: str) -> None:
        super().__init__(message, audio_id=audio_id)
        self.status = status


class PlaybackError(AiozStreamError):
    """A link does not play."""


class JournalError(AiozStreamError):
    """The record of uploads cannot be used; ``path`` is its file."""

    def __init__(self, message: str, *, path: Path) -> None:
        super().__init__(message)
        self.path = path
