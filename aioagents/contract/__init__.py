"""What a vendor's folder must supply: a client, a provider, and (in `fake`) a fake server."""

from .client import RunClient
from .endpoint import Endpoint, address_of, check_ref, details_in, endpoint_of, name_in
from .events import EventDecoder
from .provider import Provider
from .push import WebhookRegistration
from .reader import GRACE, RunReader, with_hint
from .row import BatchRow
from .settings import (
    account_name,
    check_base_url,
    check_header_value,
    check_host_label,
    check_text,
    check_webhook_url,
    is_loopback,
    key_headers,
    path_segment,
)
from .starter import RunStarter
from .uploads import Form, Progress, ProgressReporter, Uploadable, UploadSource, file_form, open_upload

__all__ = [
    "GRACE",
    "BatchRow",
    "Endpoint",
    "EventDecoder",
    "Form",
    "Progress",
    "ProgressReporter",
    "Provider",
    "RunClient",
    "RunReader",
    "RunStarter",
    "UploadSource",
    "Uploadable",
    "WebhookRegistration",
    "account_name",
    "address_of",
    "check_base_url",
    "check_header_value",
    "check_host_label",
    "check_ref",
    "check_text",
    "check_webhook_url",
    "details_in",
    "endpoint_of",
    "file_form",
    "is_loopback",
    "key_headers",
    "name_in",
    "open_upload",
    "path_segment",
    "with_hint",
]
