"""A sweep that is sent to a Ray presents the token that Ray itself would present.

Ray 2.60 turns token authentication on wherever it finds a token, but not for a client that
is given an address: `RAY_ADDRESS` alone would be refused by a cluster on the same machine.
A cluster that asks for no token ignores one.
"""

import os
from collections.abc import MutableMapping
from pathlib import Path

ADDRESS_VARIABLE = "RAY_ADDRESS"
"""Set by `ray job submit`, or by hand; without it a sweep starts a Ray that ends with it."""

LOCAL = "local"
"""Ray's own word for an address at which a new Ray is started."""

MODE_VARIABLE = "RAY_AUTH_MODE"
TOKEN_VARIABLES = ("RAY_AUTH_TOKEN", "RAY_AUTH_TOKEN_PATH")
TOKEN_FILE = Path(".ray") / "auth_token"
"""Where Ray keeps a token of its own making, in the home directory."""


def present_token(environment: MutableMapping[str, str] = os.environ) -> None:
    """Turn authentication on if there is a token; call before Ray is imported."""
    address = environment.get(ADDRESS_VARIABLE) or LOCAL
    if address == LOCAL or MODE_VARIABLE in environment:
        return
    if any(name in environment for name in TOKEN_VARIABLES) or (Path.home() / TOKEN_FILE).is_file():
        environment[MODE_VARIABLE] = "token"
