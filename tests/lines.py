"""What a logger is given."""

import logging
from collections.abc import Iterator
from contextlib import contextmanager


class _Kept(logging.Handler):
    def __init__(self) -> None:
        super().__init__()
        self.records: list[logging.LogRecord] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.records.append(record)


@contextmanager
def kept_lines(name: str) -> Iterator[list[logging.LogRecord]]:
    """Keep what a logger is given from now on, from INFO upwards."""
    logger, kept = logging.getLogger(name), _Kept()
    # Libraries that configure logging for themselves switch off the loggers that they find.
    before = logger.level, logger.disabled
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    logger.disabled = False
    try:
        yield kept.records
    finally:
        level, logger.disabled = before
        logger.setLevel(level)
        logger.removeHandler(kept)
