"""Webhooks that vendors deliver: received, checked, and followed by a poll of the run."""

from .claims import DeliveryClaim, DeliveryReader, is_news, read_run, run_reader
from .receiver import WebhookReceiver
from .router import Delivery, WebhookStatistics
from .seen import SeenIds
from .signature import sign, verify
from .tickets import Ticket, Wakeable

__all__ = [
    "Delivery",
    "DeliveryClaim",
    "DeliveryReader",
    "SeenIds",
    "Ticket",
    "Wakeable",
    "WebhookReceiver",
    "WebhookStatistics",
    "is_news",
    "read_run",
    "run_reader",
    "sign",
    "verify",
]
