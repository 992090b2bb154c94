"""AGH Runtime: its base URL, and the variable for it."""

from collections.abc import Mapping
from typing import Final

VENDOR: Final = "agh"
BASE_URL: Final = "http://localhost:2123"

VARIABLES: Final[Mapping[str, str]] = {
    "AGH_BASE_URL": f"base URL, in place of {BASE_URL}",
}
