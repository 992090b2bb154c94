"""The command line `aioagents`. Needs the extra `cli`; without it, it prints which one is missing."""

from .main import main

__all__ = ["main"]
