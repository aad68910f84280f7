"""Gauges that remember what they were put to."""


class Gauges:
    """Values by the gauge's name."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}

    def make(self, name: str) -> "Gauges.Gauge":
        """The gauge of a name."""
        return Gauges.Gauge(self.values.setdefault(name, []))

    class Gauge:
        """One of them."""

        def __init__(self, values: list[float]) -> None:
            self.values = values

        def set(self, value: int | float) -> None:
            self.values.append(value)
