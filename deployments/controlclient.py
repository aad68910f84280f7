"""A client of the control API, for the command line."""

import getpass
import json
import os
import urllib.error
import urllib.request
from typing import Any

from deployments.errors import FleetError

URL_VARIABLE = "RAYFLEET_CONTROL_URL"
"""Address of the control API, where `--url` is not given."""

DEFAULT_URL = "http://127.0.0.1:8081"

TIMEOUT_S = 30.0


class ControlError(FleetError):
    """The control API refused, or cannot be reached."""


class ControlClient:
    """The control API of one fleet."""

    def __init__(self, url: str | None = None) -> None:
        """Begin; None takes RAYFLEET_CONTROL_URL, else the default port of this machine.

        Raises:
            ControlError: It is no address.
        """
        self.url = (url or os.environ.get(URL_VARIABLE) or DEFAULT_URL).rstrip("/")
        if not self.url.startswith(("http://", "https://")):
            raise ControlError(f"{self.url!r} is no address, allowed: http://HOST:PORT")

    def get(self, path: str) -> Any:
        """Read something.

        Args:
            path: Below `/api/v1`, quoted.

        Raises:
            ControlError: One line that says what is wrong.
        """
        return self._ask("GET", path, None)

    def post(self, path: str, body: Any) -> Any:
        """Ask for something; otherwise as `get`."""
        return self._ask("POST", path, body)

    def _ask(self, method: str, path: str, body: Any) -> Any:
        content = None if body is None else json.dumps(body).encode()
        headers = {"Content-Type": "application/json", "X-Actor": _user()}
        request = urllib.request.Request(  # noqa: S310, the scheme is checked
            f"{self.url}/api/v1{path}", content, headers, method=method
        )
        try:
            with urllib.request.urlopen(request, timeout=TIMEOUT_S) as answer:  # noqa: S310, as above
                return json.load(answer)
        except urllib.error.HTTPError as error:
            raise ControlError(_reason(error)) from None
        except (OSError, ValueError) as error:
            reason = getattr(error, "reason", None) or error
            raise ControlError(f"no fleet answers at {self.url}: {reason}") from None


def _reason(error: urllib.error.HTTPError) -> str:
    try:
        return str(json.load(error)["error"])
    except (ValueError, KeyError, TypeError, OSError):
        return f"the control API answered {error.code} {error.reason}"


def _user() -> str:
    try:
        name = getpass.getuser()
    except (KeyError, OSError):  # a user without an entry, as in a container
        name = ""
    return name.encode("ascii", "replace").decode() or "cli"
