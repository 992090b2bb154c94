"""How polls are bounded, in all and per account: due runs are handed out source by source, in rotation.

Pure: it neither waits nor reads a clock.
"""

from collections import deque

from .runs import DUE, PolledRun, Source


class Rotation:
    """Due runs of all sources. At most `most` polls are under way at once.

    A source begins a poll only while it has fewer under way than are left to begin: so no account ever holds more
    than half of them, rounded up, and a vendor that stalls leaves room to the others. In an outage, and after it, a
    source begins no more than its slow start allows.
    """

    __slots__ = ("_most", "polling", "sources")

    def __init__(self, most: int) -> None:
        self._most = most
        #: Those with due runs, each once.
        self.sources: deque[Source] = deque()
        #: How many polls are under way.
        self.polling = 0

    def add(self, run: PolledRun) -> None:
        """Add a run that is due, behind the others of its source."""
        source = run.source
        if not source.due:
            self.sources.append(source)
        run.phase = DUE
        source.due.append(run)

    def take(self) -> PolledRun | None:
        """Take out the run to poll next, and count its poll as under way. Return None if none may be polled now."""
        sources = self.sources
        for _ in range(len(sources)):
            source = sources[0]
            sources.rotate(-1)
            slow_start = source.slow_start
            if source.polling >= self._most - self.polling or slow_start.allowed < 1:
                continue
            run = None
            while source.due and run is None:
                run = source.due.popleft()
                if run.phase is not DUE:
                    run = None  # polled meanwhile, by a list
            if not source.due:
                sources.pop()
            if run is not None:
                slow_start.allowed -= 1
                source.polling += 1
                self.polling += 1
                return run
        return None

    def free(self, source: Source) -> None:
        """Count a poll of a source as over."""
        source.polling -= 1
        self.polling -= 1

    def clear(self) -> None:
        """Forget all due runs."""
        for source in self.sources:
            source.due.clear()
        self.sources.clear()
