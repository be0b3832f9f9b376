"""The sandbox's fixed keys, and the check of a request's."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

from .refusal import RefusalError

if TYPE_CHECKING:
    from starlette.datastructures import Headers

PUBLIC_KEY = "sandbox-public-key"
SECRET_KEY = "sandbox-secret-key"  # noqa: S105 - printed on purpose: it opens nothing but the sandbox


def _basic(authorization: str) -> tuple[str, str] | None:
    """Read ``Basic public:secret`` (RFC 7617); None where it is something else."""
    scheme, _, credentials = authorization.partition(" ")
    if scheme.lower() != "basic":
        return None
    try:
        public, _, secret = base64.b64decode(credentials, validate=True).decode().partition(":")
    except (binascii.Error, UnicodeDecodeError):
        return None
    return public, secret


def check_keys(headers: Headers) -> None:
    """Let a request with the sandbox's keys pass, by header or HTTP Basic.

    Raises:
        RefusalError: 401, worded by whether there were any keys.
    """
    public, secret = headers.get("stream-public-key", ""), headers.get("stream-secret-key", "")
    given = (public, secret) if public or secret else _basic(headers.get("authorization", ""))
    if given is None:
        raise RefusalError("You are not logged in.", status=401)
    if given != (PUBLIC_KEY, SECRET_KEY):
        raise RefusalError("API key not found.", status=401)
