"""Pages of the report as the vendor's fake writes them."""

import orjson

from aioagents.contract.fake import RunPlan
from aioagents.providers.leena.fake.items import Items
from aioagents.providers.leena.fake.report import ReportRules, report_body


def make_pages(rows: int, page_size: int) -> list[bytes]:
    """Return the bodies that hold `rows` rows, and then the empty one after them."""
    items = Items(RunPlan(history=rows))
    query = {
        "metricId": "aic:totalRunsTable",
        "responseType": "table",
        "from": "1970-01-01",
        "to": "2026-12-31",
        "limit": str(page_size),
    }
    return [
        orjson.dumps(report_body(items, {**query, "page": str(page)}, rules=ReportRules(), now=0.0))
        for page in range(1, -(-rows // page_size) + 2)
    ]
