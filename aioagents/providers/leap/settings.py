"""Leap: base URL, environment variables, and the two dialects of its API."""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final

BASE_URL: Final = "https://api.workflows.tryleap.ai"

VARIABLES: Final[Mapping[str, str]] = {
    "LEAP_API_KEY": "API key, from the vendor's dashboard",
    "LEAP_BASE_URL": f"base URL, in place of {BASE_URL}",
    "LEAP_DIALECT": "how runs are started: workflows (the default) or runs",
}
REQUIRED: Final = ("LEAP_API_KEY",)


class Dialect(StrEnum):
    """How a run is started. The vendor published two generations on the same host; reading is the same in both.

    `WORKFLOWS`: `POST /v1/workflows` with `workflowId`, `webhookUrl`, `inputs` (October 2023).
    `RUNS`: `POST /v1/runs` with `workflow_id`, `webhook_url`, `input` (the public OpenAPI).
    """

    WORKFLOWS = "workflows"
    RUNS = "runs"

    @classmethod
    def of(cls, name: str) -> "Dialect":
        """Return the dialect of this name. Raises ValueError that lists the names."""
        try:
            return cls(name)
        except ValueError:
            raise ValueError(f"dialect has to be one of {', '.join(cls)}, not {name!r}") from None
