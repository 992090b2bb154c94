"""AGH Runtime: handles on runs."""

from ...model import RunRef
from ...polling import RunHandle
from .calls import Calls
from .finality import needs_policy, read_record
from .reader import Reader
from .records import AutomationRun
from .settings import VENDOR


class Follower:
    """Makes handles on the runs of one runtime, which share their polls."""

    def __init__(self, calls: Calls) -> None:
        self._pool = calls.pool
        key = (VENDOR, calls.base_url)
        self._source = self._pool.source(key, Reader(calls), VENDOR)

    def foreign(self, run_id: str) -> RunHandle:
        """Follow a run by its id."""
        return RunHandle(self._source, RunRef(VENDOR, "", run_id))

    def begun(self, record: AutomationRun) -> RunHandle:
        """Follow a run that we began ourselves, as its record tells of it now."""
        clock = self._pool.clock
        ref = RunRef(VENDOR, "", record.id)
        run = read_record(record, ref, clock.utcnow(), is_final=not needs_policy(record))
        target = record.job_id or record.trigger_id
        return RunHandle(self._source, ref, target=target, accepted=run, begun_at=clock.now())
