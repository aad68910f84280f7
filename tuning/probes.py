"""Ask at once whether a dependency is there, where its own client would wait for minutes."""

import errno
import re
import socket
from pathlib import Path
from urllib.parse import urlsplit

from tuning.errors import ConfigError

DATABASE_SERVERS = ("postgresql", "mysql")
FILE = "sqlite:///"

PORTS = {"http": 80, "https": 443}
"""Of servers whose address names none."""

RAY_ADDRESS = re.compile(r"(?:ray://)?\[?(?P<host>[^\s/]+?)\]?:(?P<port>[0-9]{1,5})")
"""What names a machine."""

RAY_WORDS = ("", "auto", "local")
"""What Ray takes in an address's place."""

PASSWORD = re.compile(r"(://[^\s/@:]*:)\S*@|([?&]password=)[^&\s]*")
"""Up to the last @: a password may hold one, and a slash, that should have been escaped."""

CONNECT_TIMEOUT_S = 10


def require_database(uri: str) -> None:
    """Raise at once what MLflow 3.17 would retry for minutes: a database that is not there.

    Args:
        uri: Any address that MLflow takes; only those of databases are looked at. A file that
            is not there will be made, if its folder is.

    Raises:
        SQLAlchemyError: It does not answer, or does not let us in.
        OSError: The folder of a file is not there.
        ImportError: Its driver is not installed.
    """
    if not uri.startswith((*DATABASE_SERVERS, FILE)):
        return
    if is_missing_file(uri):
        folder = Path(uri.removeprefix(FILE)).parent
        if not folder.is_dir():
            raise FileNotFoundError(errno.ENOENT, f"there is no folder {str(folder)!r}")
        return
    from sqlalchemy import create_engine  # noqa: PLC0415, slower than --help should be

    is_file = uri.startswith(FILE)
    timeout = {} if is_file else {"connect_timeout": CONNECT_TIMEOUT_S}
    engine = create_engine(uri, connect_args=timeout)
    try:
        with engine.connect() as connection:
            # A file is opened by the first query, not before.
            connection.exec_driver_sql("SELECT 1 FROM sqlite_master" if is_file else "SELECT 1")
    finally:
        engine.dispose()


def require_server(uri: str) -> None:
    """Raise at once what MLflow 3.17 would retry for minutes: a server that nothing leads to.

    Args:
        uri: Any address that MLflow takes; only those of servers are looked at.

    Raises:
        OSError: Nobody listens there, or what is sent there is lost.
    """
    address = urlsplit(uri)
    port = address.port or PORTS.get(address.scheme)
    if port is not None and address.scheme in PORTS:
        socket.create_connection((address.hostname, port), timeout=CONNECT_TIMEOUT_S).close()


def is_missing_file(uri: str) -> bool:
    """Whether an address is of an SQLite file that nobody has made yet."""
    return uri.startswith(FILE) and not Path(uri.removeprefix(FILE)).exists()


def require_ray(address: str, name: str) -> None:
    """Refuse the address of a Ray that does not answer; Ray 2.60 would ask it for 20 minutes.

    Args:
        address: As Ray's clients take it.
        name: The variable or option that it comes from.

    Raises:
        ConfigError: Nothing listens there, or it is no address.
    """
    named = RAY_ADDRESS.fullmatch(address)
    if named is None:
        # Ray's clients know other schemes than its own, by plug-ins.
        if address in RAY_WORDS or ("://" in address and not address.startswith("ray://")):
            return
        raise ConfigError(
            f"{name}: {address!r}: no address, allowed: HOST:PORT, ray://HOST:PORT, auto, local"
        )
    try:
        place = named["host"], int(named["port"])
        socket.create_connection(place, timeout=CONNECT_TIMEOUT_S).close()
    except (OSError, OverflowError) as error:
        reason = getattr(error, "strerror", None) or error
        raise ConfigError(f"{name}: {address!r}: no Ray there: {reason}") from None


def without_password(text: str) -> str:
    """Blank out the secret part of an address, or of a message that quotes one."""
    return PASSWORD.sub(lambda found: f"{found[1]}***@" if found[1] else f"{found[2]}***", text)


def first_line(error: Exception) -> str:
    """What an error says, in one line without passwords; its type if it says nothing."""
    text, _, rest = str(error).strip().partition("\n")
    if text.endswith(":"):  # MLflow's of several downloads
        text = f"{text} {rest.strip().partition(chr(10))[0]}".strip()
    return without_password(text) or type(error).__name__
