"""AIOZ Stream on loopback, for demonstrations, tests and people who build agents without keys.

It answers as the real service does, transcodes for real, and serves what it made:

    async with Sandbox(directory) as sandbox, serve(sandbox) as url:
        ...  # url is the media collection; the keys are PUBLIC_KEY and SECRET_KEY

Test knobs: `Sandbox.faults` (what goes wrong next), `Sandbox.account` (what was asked), `Line` (how slow it is).
"""

from __future__ import annotations

from .account import Account, Entry
from .app import Sandbox
from .faults import Answer, Drop, Fault, Faults, Stall
from .keys import PUBLIC_KEY, SECRET_KEY
from .line import Line
from .serving import serve

__all__ = [
    "PUBLIC_KEY",
    "SECRET_KEY",
    "Account",
    "Answer",
    "Drop",
    "Entry",
    "Fault",
    "Faults",
    "Line",
    "Sandbox",
    "Stall",
    "serve",
]
