"""Batches with bounds so small that a few rows reach them."""

from typing import Any

import attrs

from aioagents.batch import Batch
from aioagents.contract import RunClient


def make_batch(client: RunClient, *, ahead: int, outage: int, **options: Any) -> Batch:
    """Make a batch that reads `ahead` rows ahead, and takes `outage` failures in a row for an outage."""
    batch = Batch(client, **options)
    batch._settings = attrs.evolve(batch._settings, ahead=ahead, outage=outage)  # noqa: SLF001
    return batch


def check(batch: Batch) -> None:
    """Recount the rows of a running batch's core. Raises AssertionError."""
    driver = batch._driver  # noqa: SLF001
    if driver is not None:
        driver._core.check()  # noqa: SLF001
