"""Ask at once whether a dependency is there, where its own client would wait for minutes."""

import re
import socket
from pathlib import Path

from tuning.errors import ConfigError

DATABASE_SERVERS = ("postgresql", "mysql")

RAY_ADDRESS = re.compile(r"(?:ray://)?\[?(?P<host>[^\s/]+?)\]?:(?P<port>[0-9]{1,5})")
"""What names a machine; `auto` and `local` do not."""

PASSWORD = re.compile(r"(?<=:)[^:/@]*(?=@)")

CONNECT_TIMEOUT_S = 10


def require_database(uri: str) -> None:
    """Raise at once what MLflow 3.17 would retry for minutes: a database that is not there.

    Args:
        uri: Any address that MLflow takes; only those of database servers are looked at.

    Raises:
        SQLAlchemyError: It does not answer, or does not let us in.
        ImportError: Its driver is not installed.
    """
    if not uri.startswith(DATABASE_SERVERS):
        return
    from sqlalchemy import create_engine  # noqa: PLC0415, slower than --help should be

    engine = create_engine(uri, connect_args={"connect_timeout": CONNECT_TIMEOUT_S})
    try:
        engine.connect().close()
    finally:
        engine.dispose()


def is_missing_file(uri: str) -> bool:
    """Whether an address is of an SQLite file that nobody has made yet."""
    _, separator, file = uri.partition("sqlite:///")
    return bool(separator) and not Path(file).exists()


def require_ray(address: str, name: str) -> None:
    """Refuse the address of a Ray that does not answer; Ray 2.60 would ask it for 20 minutes.

    Args:
        address: As Ray's clients take it.
        name: The variable or option that it comes from.

    Raises:
        ConfigError: Nothing listens there.
    """
    named = RAY_ADDRESS.fullmatch(address)
    if named is None:
        return
    try:
        place = named["host"], int(named["port"])
        socket.create_connection(place, timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: {address!r}: no Ray there: {reason}") from None


def without_password(uri: str) -> str:
    """Blank out an address's secret part, for messages."""
    return PASSWORD.sub("***", uri)
