"""Small requests over connections of our own: one write, one reply, and no doubt about whose it is."""

from .opener import Opener
from .send import DirectSend

__all__ = ["DirectSend", "Opener"]
