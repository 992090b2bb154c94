"""Pages of the report, as the fake server writes them."""

import orjson

from aioagents.contract.fake import RunPlan
from aioagents.providers.leena.fake.items import Items
from aioagents.providers.leena.fake.report import ReportRules, report_body


def make_pages(rows: int, page_size: int) -> list[bytes]:
    """Return the bodies of the pages with `rows` rows, and of the empty page after them."""
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
