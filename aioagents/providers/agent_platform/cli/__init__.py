"""Kore Agent Platform on the command line."""

from .chat import CHAT
from .group import GROUP
from .run import RUN, endpoints

__all__ = ["CHAT", "GROUP", "RUN", "endpoints"]
