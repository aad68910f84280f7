"""What a fleet config may say about the control API."""

from typing import Annotated

from pydantic import Field

from tuning.configfile import Spec


class ControlSpec(Spec):
    """The control API: its own port, apart from the doors for predictions."""

    host: str = "127.0.0.1"
    """Address to listen on. Nobody is asked who they are: keep to loopback or a safe network."""

    port: Annotated[int, Field(gt=0, lt=65536)] = 8081
    """Port on the controller's node."""

    registry_secret_file: str | None = None
    """File with the secret of MLflow's webhooks, on the controller's node; None takes none."""
