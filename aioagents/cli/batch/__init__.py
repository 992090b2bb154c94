"""The command `batch`: starts each row of a file once, whatever happens to the process."""

from .group import batch

__all__ = ["batch"]
