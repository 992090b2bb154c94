"""AGH Runtime on the command line."""

from .group import GROUP
from .run import RUN, endpoints

__all__ = ["GROUP", "RUN", "endpoints"]
