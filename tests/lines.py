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
    level = logger.level
    logger.addHandler(kept)
    logger.setLevel(logging.INFO)
    try:
        yield kept.records
    finally:
        logger.setLevel(level)
        logger.removeHandler(kept)
