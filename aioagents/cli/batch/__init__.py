"""`batch`: many rows from a file, each started once, whatever happens to the process."""

from .group import batch

__all__ = ["batch"]
