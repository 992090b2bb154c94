"""The command line `aioagents`. Needs the extra `cli`; without it, it says so."""

from .main import main

__all__ = ["main"]
