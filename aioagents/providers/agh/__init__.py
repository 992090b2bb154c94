"""AGH Runtime: jobs, triggers, and the history of their runs."""

from ...contract import Provider
from .client import Agh
from .settings import BASE_URL, VARIABLES

__all__ = ["BASE_URL", "PROVIDER", "Agh"]

PROVIDER = Provider(name="agh", title="AGH Runtime", client=Agh, variables=VARIABLES)
