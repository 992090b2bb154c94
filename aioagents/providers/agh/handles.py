"""AGH Runtime: handles of runs."""

from collections.abc import Mapping, Sequence

from ...contract import Endpoint
from ...polling import RunHandle
from .calls import Calls
from .control import ControllingReader
from .finality import is_delegated, needs_policy, run_from_record
from .history import RunHistory
from .records import AutomationRun
from .settings import VENDOR


class Handles:
    """Makes the handles of one runtime's runs, which share their polls."""

    def __init__(self, calls: Calls, endpoint: Endpoint) -> None:
        self._pool = calls.pool
        self._endpoint = endpoint
        key = (VENDOR, calls.base_url)
        self._source = self._pool.source(key, ControllingReader(calls), VENDOR)

    def by_id(self, run_id: str) -> RunHandle:
        """Return the handle of a run by its id."""
        return RunHandle(self._source, self._endpoint.ref(run_id))

    def of_started(self, record: AutomationRun) -> RunHandle:
        """Return the handle of a run that this client has just started, with its record as accepted."""
        clock = self._pool.clock
        ref = self._endpoint.ref(record.id)
        run = run_from_record(record, ref, clock.utcnow(), is_final=not needs_policy(record))
        target = record.job_id or record.trigger_id
        return RunHandle(self._source, ref, target=target, accepted=run, begun_at=clock.now())

    def reporting(self, history: RunHistory) -> RunHistory:
        """Return `history`, whose pages inform from now on those who wait for one of their runs, without a poll."""
        read_page = history.read_page

        async def read_and_report(query: Mapping[str, str]) -> list[AutomationRun]:
            asked_at = self._pool.clock.now()
            records = await read_page(query)
            self._report(records, asked_at)
            return records

        history.read_page = read_and_report
        return history

    def _report(self, records: Sequence[AutomationRun], asked_at: float) -> None:
        """Report the records that say by themselves how their run stands: not delegated, and not to be retried."""
        seen_at = self._pool.clock.utcnow()
        for record in records:
            ref = self._endpoint.ref(record.id)
            if self._source.is_awaited(ref) and not (is_delegated(record) or needs_policy(record)):
                self._source.report(run_from_record(record, ref, seen_at), asked_at=asked_at)
