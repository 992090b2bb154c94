"""Leap: workflow runs, single and in bulk, with webhooks at their end."""

from ...contract import Provider
from .client import Leap
from .settings import BASE_URL, VARIABLES, Dialect
from .wire import BulkOutput

__all__ = ["BASE_URL", "PROVIDER", "BulkOutput", "Dialect", "Leap"]

PROVIDER = Provider(name="leap", title="Leap", client=Leap, variables=VARIABLES)
