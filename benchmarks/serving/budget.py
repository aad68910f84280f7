"""How long a run may take: what would end too late is not begun."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Budget:
    """Seconds for a whole run, by a clock that it is not asked for."""

    total_s: float
    began_s: float

    def allows(self, now_s: float, expected_s: float) -> bool:
        """Whether something that takes so long would end in time."""
        return now_s - self.began_s + expected_s <= self.total_s
