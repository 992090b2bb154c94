"""What a vendor's folder must supply: a client, a provider, and (in `fake`) a fake server."""

from .client import RunClient, check_ref
from .provider import Provider
from .push import WebhookRegistration
from .reader import GRACE, RunReader
from .row import BatchRow
from .settings import check_base_url, check_host_label, check_text, is_loopback, path_segment

__all__ = [
    "GRACE",
    "BatchRow",
    "Provider",
    "RunClient",
    "RunReader",
    "WebhookRegistration",
    "check_base_url",
    "check_host_label",
    "check_ref",
    "check_text",
    "is_loopback",
    "path_segment",
]
