"""What is sent to every target, and what each must answer."""

from dataclasses import dataclass
from pathlib import Path

import msgspec

BODIES = "bodies.tsv"
MODEL = "model.joblib"


@dataclass(frozen=True, slots=True)
class Example:
    """One request, and the label that the model predicts for it offline."""

    body: str
    """JSON of one row; its `id` is the example's position, so that answers can be told apart."""

    label: int


@dataclass(frozen=True, slots=True)
class Workload:
    """One model with its requests, in a folder that every target reads."""

    model: str
    folder: Path
    examples: tuple[Example, ...]

    @property
    def bodies(self) -> Path:
        """The examples as the load generator reads them: label, tab, body."""
        return self.folder / BODIES

    @property
    def pickled_model(self) -> Path:
        """The fitted estimator, for targets without a registry."""
        return self.folder / MODEL

    @property
    def home(self) -> Path:
        """Root of the throw-away registry that holds the same estimator."""
        return self.folder / "home"

    @property
    def infer_path(self) -> str:
        """Path that every target answers at."""
        return f"/v2/models/{self.model}/infer"

    @property
    def ready_path(self) -> str:
        """Path that answers 200 once the model can predict."""
        return f"/v2/models/{self.model}/ready"


def encode_row(position: int, row: list[float]) -> str:
    """Write a row as a request of the Open Inference Protocol."""
    tensor = {"name": "input-0", "shape": [1, len(row)], "datatype": "FP64", "data": row}
    return msgspec.json.encode({"id": str(position), "inputs": [tensor]}).decode()


def write_examples(folder: Path, examples: list[Example]) -> None:
    """Hand the examples to `read_workload` and to the load generator."""
    lines = [f"{example.label}\t{example.body}\n" for example in examples]
    (folder / BODIES).write_text("".join(lines))


def read_workload(model: str, folder: Path) -> Workload:
    """Read what `prepare` left in the folder."""
    examples = []
    for line in (folder / BODIES).read_text().splitlines():
        label, body = line.split("\t", maxsplit=1)
        examples.append(Example(body, int(label)))
    return Workload(model, folder, tuple(examples))
