"""The status words of runs and dock jobs. Pure."""

from typing import Final

from ....contract.fake import StatusWords

RUN_WORDS: Final = StatusWords(
    queued="pending", running="running", completed="success", failed="failed", aborted="failed"
)
JOB_WORDS: Final = StatusWords(running="IN_PROGRESS", completed="SUCCESS", failed="FAILED", aborted="FAILED")


def is_good(word: str) -> bool:
    """Return whether a status, in any case, is success."""
    return word.lower() == RUN_WORDS.completed
