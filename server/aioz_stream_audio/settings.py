"""Everything configurable, as one frozen value read from a mapping such as ``os.environ``."""

from __future__ import annotations

import ipaddress
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal
from urllib.parse import urlsplit

import platformdirs
from pydantic import (
    AfterValidator,
    AliasChoices,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
)

from .errors import KeysMissingError, SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

APP_NAME = "audio-upload-aioz-stream"
W3STREAM_URL = "https://api-w3stream.attoaioz.cyou/api/videos"
PRODUCTION_URL = "https://api.aiozstream.network/api/media"

# What a host leaves in the environment where its user filled in nothing, such as ${user_config.public_key}.
_PLACEHOLDER = re.compile(r"\$\{[^}]*\}")
# A host and a path with nothing in them that would have to be encoded (RFC 3986, sections 3.2.2 and 3.3).
_PLAIN_URL = re.compile(
    r"https?://(\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)*\.?)(:\d*)?(/[A-Za-z0-9\-._~!$&'()*+,;=:@%/]*)?"
)
# A host that is no name: an address of IPv6, or whatever ends in a number (WHATWG URL, section 3.5).
_ADDRESS = re.compile(r".*:.*|(.*\.)?[0-9]+\.?")
# What can stand in an HTTP header (RFC 9110, section 5.5), less spaces, which are always a slip of copying.
_KEY = re.compile(r"[\x21-\x7e]{1,512}")


def is_placeholder(value: str) -> bool:
    """Whether ``value`` is what a host left in where its user filled in nothing."""
    return bool(_PLACEHOLDER.fullmatch(value.strip()))


def is_loopback(host: str) -> bool:
    """Whether ``host``, a name or an address without brackets, is this machine and no other."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost"


def _api_url(value: str) -> str:
    url = urlsplit(value.strip())
    if not url.hostname or url.query or url.fragment or url.username is not None or url.port == 0:
        raise ValueError("not an address")
    if not _PLAIN_URL.fullmatch(url.geturl()):
        raise ValueError("not an address")
    if _ADDRESS.fullmatch(url.hostname):
        ipaddress.ip_address(url.hostname)
    if url.scheme != "https" and not (url.scheme == "http" and is_loopback(url.hostname)):
        raise ValueError("not an address")
    return url.geturl().rstrip("/")


def _key(value: SecretStr) -> SecretStr:
    key = value.get_secret_value().strip()
    if not _KEY.fullmatch(key):
        raise ValueError("not a key")
    return SecretStr(key)


def _directories(value: object) -> object:
    return _named(value.split(os.pathsep)) if isinstance(value, str) else value


def _named(entries: Iterable[str]) -> list[Path]:
    stripped = (entry.strip() for entry in entries)
    return [Path(entry).expanduser() for entry in stripped if entry and not is_placeholder(entry)]


def _upper(value: object) -> object:
    return value.upper() if isinstance(value, str) else value


@dataclass(frozen=True)
class Keys:
    """A user's API keys. They belong to one address of the API; their ``repr`` is masked."""

    public: SecretStr
    secret: SecretStr

    def headers(self) -> dict[str, str]:
        """Give the two headers that AIOZ Stream asks for on every call."""
        return {
            "stream-public-key": self.public.get_secret_value(),
            "stream-secret-key": self.secret.get_secret_value(),
        }


ApiKey = Annotated[SecretStr, AfterValidator(_key)]
_KEY_RULE = "the key as AIOZ Stream shows it: printable ASCII, no spaces"


def _variable(name: str, rule: str, *older: str, **schema: Any) -> Any:  # noqa: ANN401 - what Field itself takes and gives
    return Field(validation_alias=AliasChoices(name, *older), description=rule, **schema)


class Settings(BaseModel):
    """The package's configuration. Frozen; keys are masked in its ``repr``.

    Sizes are in MiB where the name says so. Made by `Settings.from_environ`, or by keyword in a program.
    """

    model_config = ConfigDict(frozen=True, extra="ignore", populate_by_name=True, hide_input_in_errors=True)

    public_key: Annotated[ApiKey | None, _variable("AIOZ_STREAM_PUBLIC_KEY", _KEY_RULE, "STREAM_PUBLIC_KEY")] = None
    secret_key: Annotated[ApiKey | None, _variable("AIOZ_STREAM_SECRET_KEY", _KEY_RULE, "STREAM_SECRET_KEY")] = None
    api_url: Annotated[
        str,
        AfterValidator(_api_url),
        _variable("AIOZ_STREAM_API_URL", f"an https: URL (http: only to this machine), such as {W3STREAM_URL}"),
    ] = W3STREAM_URL
    allowed_dirs: Annotated[
        tuple[Path, ...] | None,
        BeforeValidator(_directories),
        _variable("AIOZ_STREAM_ALLOWED_DIRS", f"a list of directories separated by {os.pathsep!r}"),
    ] = None
    parallel_parts: Annotated[
        int, _variable("AIOZ_STREAM_PARALLEL_PARTS", "a whole number from 1 to 16", ge=1, le=16)
    ] = 5
    part_size_mib: Annotated[
        int | None,
        _variable("AIOZ_STREAM_PART_SIZE_MIB", "a whole number of MiB from 1 to 128", ge=1, le=128),
    ] = None
    state_dir: Annotated[Path, _variable("AIOZ_STREAM_STATE_DIR", "a directory")] = Field(
        default_factory=lambda: platformdirs.user_state_path(APP_NAME, appauthor=False)
    )
    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL"],
        BeforeValidator(_upper),
        _variable("AIOZ_STREAM_LOG_LEVEL", "DEBUG, INFO, WARNING, ERROR or CRITICAL"),
    ] = "WARNING"

    @classmethod
    def from_environ(cls, environ: Mapping[str, str]) -> Settings:
        """Read the settings from ``environ``; what is empty, or a placeholder that a host left in, is not set.

        Raises:
            SettingsError: a variable has a value it cannot have; the message is one line that names it.
        """
        given = {name: value for name, value in environ.items() if value.strip() and not is_placeholder(value)}
        try:
            return cls.model_validate(given, by_name=False)
        except ValidationError as error:
            variable = next(str(part) for part in error.errors()[0]["loc"])
            raise SettingsError(f"{variable} must be {_rule(variable)}.", variable=variable) from None

    def restricted_to(self, directories: Iterable[str]) -> Settings:
        """Give settings that allow no other ``directories``; the same settings where none is named.

        What is empty, or a placeholder that a host left in, names none.
        """
        allowed = _named(directories)
        return self.model_copy(update={"allowed_dirs": tuple(allowed)}) if allowed else self

    @property
    def keys_configured(self) -> bool:
        """Say whether the environment has both keys."""
        return self.public_key is not None and self.secret_key is not None

    def keys(self, public_key: str | None = None, secret_key: str | None = None) -> Keys:
        """Give the keys to use: the ones passed, which win, or the configured ones.

        Raises:
            KeysMissingError: there is not one of each.
            SettingsError: a key passed is not one; its value is not in the message.
        """
        public = _passed_key("public_key", public_key) or self.public_key
        secret = _passed_key("secret_key", secret_key) or self.secret_key
        if public is None or secret is None:
            wanted = {"STREAM_PUBLIC_KEY": public, "STREAM_SECRET_KEY": secret}
            missing = [name for name, key in wanted.items() if key is None]
            raise KeysMissingError(
                f"No API keys: {' and '.join(missing)} {'is' if len(missing) == 1 else 'are'} not set, so nothing was "
                "sent. Set STREAM_PUBLIC_KEY and STREAM_SECRET_KEY in the environment, or in the host's "
                "settings of this server, and restart it. As a last resort, keys may be passed to the MCP "
                "tools as the arguments public_key and secret_key."
            )
        return Keys(public, secret)


def variables(field: str) -> list[str]:
    """Give the names of the variables that ``field`` of `Settings` is read from; the first that is set wins."""
    alias = Settings.model_fields[field].validation_alias
    return [str(name) for name in alias.choices] if isinstance(alias, AliasChoices) else []


def _rule(variable: str) -> str:
    """Give what ``variable`` may be, in words; each field carries them as its description."""
    field = next(name for name in Settings.model_fields if variable in variables(name))
    return str(Settings.model_fields[field].description)


def _passed_key(name: str, value: str | None) -> SecretStr | None:
    if value is None or not value.strip() or is_placeholder(value):
        return None
    try:
        return _key(SecretStr(value))
    except ValueError:
        raise SettingsError(f"{name} must be {_KEY_RULE}; nothing was sent.", variable=name) from None
