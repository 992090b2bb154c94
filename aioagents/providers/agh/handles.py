"""AGH Runtime: handles of runs."""

from ...model import RunRef
from ...polling import RunHandle
from .calls import Calls
from .finality import needs_policy, run_from_record
from .reader import AghReader
from .records import AutomationRun
from .settings import VENDOR


class Handles:
    """Makes the handles of one runtime's runs, which share their polls."""

    def __init__(self, calls: Calls) -> None:
        self._pool = calls.pool
        key = (VENDOR, calls.base_url)
        self._source = self._pool.source(key, AghReader(calls), VENDOR)

    def by_id(self, run_id: str) -> RunHandle:
        """Return the handle of a run by its id."""
        return RunHandle(self._source, RunRef(VENDOR, "", run_id))

    def of_started(self, record: AutomationRun) -> RunHandle:
        """Return the handle of a run that this client has just started, with its record as accepted."""
        clock = self._pool.clock
        ref = RunRef(VENDOR, "", record.id)
        run = run_from_record(record, ref, clock.utcnow(), is_final=not needs_policy(record))
        target = record.job_id or record.trigger_id
        return RunHandle(self._source, ref, target=target, accepted=run, begun_at=clock.now())
