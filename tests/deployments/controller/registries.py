"""A registry that the test writes."""

from collections.abc import Mapping

from deployments.controller.facts import RegistryView, VersionFacts
from deployments.schema import ModelSpec
from tests.fakes import SIGNATURE


class FakeRegistry:
    """Knows the models `churn` and `wine`, each with a champion; may be away."""

    def __init__(self) -> None:
        self.trouble: Exception | None = None

    def look(self, specs: Mapping[str, ModelSpec]) -> RegistryView:
        if self.trouble is not None:
            raise self.trouble
        aliases = {name: {"champion": "1"} for name in ("churn", "wine")}
        facts = VersionFacts("sklearn", SIGNATURE, "sklearn")
        return RegistryView(aliases, {(name, "1"): facts for name in aliases}, answered=True)
