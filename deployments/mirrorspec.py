"""What a model's settings say about mirroring: which versions answer beside stable, unseen."""

from typing import Annotated, Any

from pydantic import Field, field_validator

from tuning.configfile import Spec

MOST_SAMPLES = 100
"""Of rows that are kept to look at, for each version at each gateway."""


class MirrorSpec(Spec):
    """The part of a model's settings that its mirrored requests go by."""

    mirror: dict[str, Annotated[int, Field(ge=0, le=100)]] = Field(default={})
    """Percent of stable's requests that are also sent to a registry alias or version number.

    Its answers reach nobody; they are compared with stable's and counted. An alias that names
    no version, or one that `traffic` names, mirrors nothing meanwhile.
    """

    mirror_tolerance: Annotated[float, Field(ge=0, lt=1)] = 1e-5
    """Largest difference between floats that counts as none, relative to the largest magnitude
    in the row; single precision alone makes one of 1e-6 where batches differ in size.
    """

    mirror_samples: Annotated[int, Field(ge=0, le=MOST_SAMPLES)] = 10
    """Requests answered differently that each gateway keeps in memory to look at; 0 keeps none."""

    @field_validator("mirror", mode="before")
    @classmethod
    def _mirrored_versions_may_be_numbers(cls, value: Any) -> Any:
        return named_versions(value)


def named_versions(value: Any) -> Any:
    """Spell versions that YAML reads as numbers as text; what is no mapping stays as it is.

    Raises:
        ValueError: A version stands twice.
    """
    if not isinstance(value, dict):
        return value
    # Exactly int: True would become the alias "True".
    named = {str(key) if type(key) is int else key: each for key, each in value.items()}
    if len(named) < len(value):
        raise ValueError(f"{list(value)}: a version stands twice, as a number and as text")
    return named
