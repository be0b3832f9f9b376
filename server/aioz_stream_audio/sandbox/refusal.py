"""How the sandbox says no."""

from __future__ import annotations


class RefusalError(Exception):
    """A call is refused: ``status`` is the HTTP status, ``str()`` the API's own words."""

    def __init__(self, message: str, *, status: int = 400) -> None:
        super().__init__(message)
        self.status = status
