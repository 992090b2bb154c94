"""Kore Agent Platform: the sessions and runs of an app, and the tools, models and files of its account."""

from ...contract import Provider
from .client import AgentPlatform
from .settings import KEY_HEADER, VARIABLES

__all__ = ["KEY_HEADER", "PROVIDER", "AgentPlatform"]

PROVIDER = Provider(
    name="agent-platform", title="Kore Agent Platform", client=AgentPlatform, variables=VARIABLES
)
