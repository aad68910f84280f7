"""How the models of the benchmark and its files are called, in every process of it."""

from deployments.schema import parse_application_name

RELEASED = "released"
"""The model whose versions come and go alone."""

SIMULATED = "simulated-"

TICKS = "ticks.jsonl"
"""File in the fleet's home, a line for each tick of the controller."""


def real(number: int) -> str:
    """One of the models with replicas that are rolled out at the same time."""
    return f"real-{number}"


def simulated(number: int) -> str:
    """One of those whose replicas are made up."""
    return f"{SIMULATED}{number:02}"


def is_simulated(application: str) -> bool:
    """Whether an application belongs to a model whose replicas are made up."""
    named = parse_application_name(application)
    return named is not None and named[0].startswith(SIMULATED)
