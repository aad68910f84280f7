"""Whatever can be set, called, asked or scraped is documented, with its real default."""

import argparse
import asyncio
import inspect
import json
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, get_args

import pytest
import yaml
from pydantic import BaseModel

from deployments import controlclient
from deployments.analysisspec import AnalysisSpec, RuleSpec, SignalSpec
from deployments.cli import _parser as rayfleet_parser
from deployments.controlspec import ControlSpec
from deployments.errors import (
    DeadlineExceededError,
    FleetError,
    MalformedRequestError,
    MethodNotAllowedError,
    ModelNotReadyError,
    NotFoundError,
    OverloadedError,
    PredictionError,
    ReplicaLostError,
    RequestTooLargeError,
    SlowRequestError,
    UnsupportedMediaError,
)
from deployments.feedbackspec import FeedbackSpec
from deployments.gateway import calls
from deployments.gateway.app import GatewayApp
from deployments.gateway.documentation import description
from deployments.gateway.grpc_methods import SERVICES
from deployments.gateway.inference import Inference
from deployments.gateway.pages import FIXED
from deployments.logspec import LogsSpec
from deployments.protocols.datatypes import DTYPES
from deployments.protocols.infer_rules import RESERVED_PARAMETERS
from deployments.protocols.signature import ParamsMismatchError, SignatureMismatchError
from deployments.protocols.statuses import grpc_name, mlflow_error, open_inference_error
from deployments.resourcespec import RayActorOptionsSpec
from deployments.rolloutspec import (
    AnalysisStepSpec,
    CheckSpec,
    PauseSpec,
    RolloutSpec,
    StepSpec,
    WebhookSpec,
)
from deployments.schema import (
    AutoscalingSpec,
    ExpressSpec,
    FleetSpec,
    ModelSpec,
    TorchSpec,
)
from deployments.telemetry import FAMILIES, Counters, Family, Kind
from deployments.userconfig import ModelsSpec, PoolSpec
from tests.deployments.gateway.hosted import Surroundings
from tests.documents import DOCS, README, REPOSITORY, options, rows, section
from tuning import cluster, console, home, registry, tracking
from tuning.__main__ import GENERATE, _generate_parser, _sweep_parser
from tuning.budget import BudgetSpec
from tuning.commands import COMMANDS
from tuning.comparison import RequireBetterSpec
from tuning.data import BUNDLED, DataSpec
from tuning.folds import FoldsSpec
from tuning.goals import ObjectiveSpec
from tuning.resources import ResourcesSpec
from tuning.scheduler import SchedulerSpec
from tuning.searcher import SearcherSpec
from tuning.selecting.rules import ParsimonySpec, SelectionSpec
from tuning.space import DISTRIBUTIONS
from tuning.spec import UNTIED_FIELDS, SweepSpec
from tuning.tracespec import TracesSpec
from tuning.trainers import tensorflow, torch
from tuning.trainers.estimators import CLASSIFIERS, REGRESSORS
from tuning.trainers.factory import TRAINERS
from tuning.trainers.scores import CLASSIFICATION_METRICS, REGRESSION_METRICS
from tuning.trainers.torch import TorchOptions
from tuning.values import MEASURED

SERVING = REPOSITORY / "docs" / "serving.md"
FEEDBACK = REPOSITORY / "docs" / "feedback.md"
ROLLOUTS = REPOSITORY / "docs" / "rollouts.md"
OBSERVABILITY = REPOSITORY / "docs" / "observability.md"
TUNING = REPOSITORY / "docs" / "tuning.md"
PROTOCOLS = REPOSITORY / "docs" / "protocols.md"

SPECS = [
    pytest.param(FleetSpec, SERVING, "Fleet", id="fleet"),
    pytest.param(ExpressSpec, SERVING, "Express ports", id="express"),
    pytest.param(ControlSpec, SERVING, "Control API", id="control"),
    pytest.param(LogsSpec, SERVING, "Logs", id="logs"),
    pytest.param(TracesSpec, OBSERVABILITY, "Traces", id="traces"),
    pytest.param(ModelsSpec, SERVING, "Models", id="models"),
    pytest.param(ModelSpec, SERVING, "Model", id="model"),
    pytest.param(FeedbackSpec, FEEDBACK, "Settings", id="feedback"),
    pytest.param(PoolSpec, SERVING, "Pools", id="pools"),
    pytest.param(RayActorOptionsSpec, SERVING, "Resources", id="actor-options"),
    pytest.param(TorchSpec, SERVING, "PyTorch", id="torch"),
    pytest.param(AutoscalingSpec, SERVING, "Autoscaling", id="autoscaling"),
    pytest.param(RolloutSpec, ROLLOUTS, "Settings", id="rollout"),
    pytest.param(StepSpec, ROLLOUTS, "Steps", id="steps"),
    pytest.param(CheckSpec, ROLLOUTS, "Check", id="check"),
    pytest.param(PauseSpec, ROLLOUTS, "Pause", id="pause"),
    pytest.param(AnalysisStepSpec, ROLLOUTS, "Analysis step", id="analysis-step"),
    pytest.param(AnalysisSpec, ROLLOUTS, "Analysis", id="analysis"),
    pytest.param(SignalSpec, ROLLOUTS, "Signals", id="signals"),
    pytest.param(RuleSpec, ROLLOUTS, "Rules", id="rules"),
    pytest.param(WebhookSpec, ROLLOUTS, "Webhooks", id="webhooks"),
    pytest.param(SweepSpec, TUNING, "Sweep", id="sweep"),
    pytest.param(DataSpec, TUNING, "Data", id="data"),
    pytest.param(FoldsSpec, TUNING, "Folds", id="folds"),
    pytest.param(ResourcesSpec, TUNING, "Resources", id="trial-resources"),
    pytest.param(SchedulerSpec, TUNING, "Scheduler", id="scheduler"),
    pytest.param(SearcherSpec, TUNING, "Searcher", id="searcher"),
    pytest.param(ObjectiveSpec, TUNING, "Objectives", id="objectives"),
    pytest.param(BudgetSpec, TUNING, "Budget", id="budget"),
    pytest.param(SelectionSpec, TUNING, "Selection", id="selection"),
    pytest.param(ParsimonySpec, TUNING, "Parsimony", id="parsimony"),
    pytest.param(RequireBetterSpec, TUNING, "Better than the champion", id="require-better"),
]

EVERYTHING = "\n".join(path.read_text() for path in (README, *DOCS))


@pytest.mark.parametrize(("spec", "path", "heading"), SPECS)
def test_table_has_every_field_with_its_default(
    spec: type[BaseModel], path: Any, heading: str
) -> None:
    table = {row[0]: row[1] for row in rows(section(path, heading)) if row[0] != "field"}

    assert table == {
        f"`{field.alias or name}`": shown_default(field)
        for name, field in spec.model_fields.items()
    }


def test_no_spec_is_left_out() -> None:
    listed = {param.values[0] for param in SPECS}

    assert set(nested(FleetSpec, ModelsSpec, SweepSpec, SelectionSpec)) <= listed


def shown_default(field: Any) -> str:
    if field.is_required():
        return "required"
    default = field.get_default(call_default_factory=True)
    if isinstance(default, BaseModel):
        return "below"
    text = yaml.safe_dump(default, default_flow_style=True) if default else json.dumps(default)
    return f"`{text.splitlines()[0].strip()}`"


def nested(*specs: type[BaseModel]) -> Iterator[type[BaseModel]]:
    """These specs and the ones that their annotations mention."""
    for spec in specs:
        yield spec
        for field in spec.model_fields.values():
            if field.alias != "space" and "tuning.space" not in str(field.annotation):
                yield from nested(*mentioned(field.annotation))


def mentioned(annotation: Any) -> Iterator[type[BaseModel]]:
    if inspect.isclass(annotation) and issubclass(annotation, BaseModel):
        yield annotation
    for part in getattr(annotation, "__args__", ()):
        yield from mentioned(part)


def test_every_distribution_and_its_fields_are_listed() -> None:
    listed = {row[1] for row in rows(section(TUNING, "Spaces"))}

    fields = {
        field.alias or name
        for distribution in DISTRIBUTIONS.values()
        for name, field in distribution.model_fields.items()
    }
    assert listed - {"field"} == {f"`{name}`" for name in fields}


@pytest.mark.parametrize(
    ("spec", "heading"),
    [
        pytest.param(FoldsSpec, "Kinds of folds", id="folds"),
        pytest.param(SchedulerSpec, "Kinds of schedulers", id="schedulers"),
        pytest.param(SearcherSpec, "Kinds of searchers", id="searchers"),
    ],
)
def test_every_kind_is_described(spec: type[BaseModel], heading: str) -> None:
    listed = [row[0].strip("`") for row in rows(section(TUNING, heading))[1:]]

    assert sorted(listed) == sorted(get_args(spec.model_fields["kind"].annotation))


@pytest.mark.parametrize("module", [torch, tensorflow], ids=["torch", "tensorflow"])
def test_parameters_of_a_network_have_their_real_limits(module: Any) -> None:
    name = module.__name__.rpartition(".")[2]
    table = rows(section(TUNING, "Trainers"))
    start = table.index([f"`{name}` parameter", "default", "allowed"]) + 1

    shown = table[start : start + len(module.LIMITS)]

    assert shown == [
        [f"`{key}`", f"{module.DEFAULTS[key]:g}", f"{low:g} to {high:g}"]
        for key, (low, high) in module.LIMITS.items()
    ]


@pytest.mark.parametrize(
    "name",
    [
        *(*TRAINERS, *BUNDLED, *CLASSIFICATION_METRICS, *REGRESSION_METRICS, *MEASURED),
        *sorted({*CLASSIFIERS, *REGRESSORS}),
        *TorchOptions.model_fields,
    ],
)
def test_what_a_sweep_can_name_is_mentioned(name: str) -> None:
    assert re.search(rf"[`.]{re.escape(name)}`", TUNING.read_text())


@pytest.mark.parametrize(
    ("parser", "path", "headings"),
    [
        pytest.param(rayfleet_parser(), SERVING, ("Commands", "Rollout commands"), id="rayfleet"),
        pytest.param(_sweep_parser(), TUNING, ("Commands",), id="tuning"),
        pytest.param(_generate_parser(), TUNING, ("Commands",), id="generate-data"),
        *(
            pytest.param(each.parser(), TUNING, ("Commands",), id=name)
            for name, each in COMMANDS.items()
        ),
    ],
)
def test_every_command_and_option_is_documented(
    parser: argparse.ArgumentParser, path: Any, headings: tuple[str, ...]
) -> None:
    text = "".join(section(path, heading) for heading in headings)

    missing = [
        name
        for name in options(parser)
        if not re.search(rf"(`|rayfleet ){re.escape(name)}[` ]", text)
    ]

    assert missing == []
    assert [name for name in (GENERATE, *COMMANDS) if f"`{name} " not in text] == [] or (
        path != TUNING
    )


def test_every_environment_variable_is_documented() -> None:
    table = {row[0] for row in rows(section(README, "Configuration"))}

    variables = {
        value
        for module in (home, cluster, console, controlclient)
        for name, value in vars(module).items()
        if name.endswith("_VARIABLE")
    }
    assert table - {"variable"} == {f"`{name}`" for name in variables}


def test_every_metric_is_documented_with_its_labels() -> None:
    table = rows(section(SERVING, "Metrics"))[1:]

    assert [row[:3] for row in table] == [
        [f"`{exposed(family)}`", family.kind, ", ".join(f"`{each}`" for each in family.labels)]
        for family in FAMILIES
    ]


def exposed(family: Family) -> str:
    return f"{family.name}_total" if family.kind is Kind.COUNTER else family.name


def test_every_tag_of_a_version_is_documented() -> None:
    table = {row[0] for row in rows(section(TUNING, "What a registered version carries"))}

    names = {
        value
        for name, value in vars(registry).items()
        if name.isupper() and str(value).startswith("rayfleet.")
    }
    assert table - {"tag"} == {f"`{name}`" for name in names}
    for name in (tracking.TRIAL_STATE, tracking.TRACEBACK, tracking.PARETO, tracking.SCHEDULE):
        assert f"`{name}`" in TUNING.read_text()


def test_what_may_change_in_an_unfinished_sweep_is_documented() -> None:
    text = " ".join(section(TUNING, "Interrupting and resuming").split())
    sentence = next(part for part in text.split(". ") if "must not change" in part)

    assert set(re.findall(r"`(\w+)`", sentence)) == UNTIED_FIELDS


def readme_paths() -> set[tuple[str, str]]:
    """Methods and paths of README's table."""
    table = rows(section(README, "HTTP API"))
    return paths_of((row[0], row[1]) for row in table if row[0] in ("GET", "POST"))


def protocol_paths() -> set[tuple[str, str]]:
    """Methods and paths of the tables about the protocols."""
    headings = ("Open Inference Protocol", "MLflow scoring protocol")
    cells = [row[0] for heading in headings for row in rows(section(PROTOCOLS, heading))]
    return paths_of(cell.split(" ", maxsplit=1) for cell in cells if "`/" in cell)


def paths_of(entries: Iterable[Sequence[str]]) -> set[tuple[str, str]]:
    return {(method, path) for method, cell in entries for path in re.findall(r"`(/[^`]*)`", cell)}


@pytest.mark.parametrize(("method", "path"), sorted(readme_paths() | protocol_paths()))
def test_documented_path_is_answered(method: str, path: str) -> None:
    status, body = ask(method, path)

    assert status in {200, 404, 503}
    assert status != 404 or "unknown model 'MODEL'" in body
    other, _ = ask("DELETE", path)
    assert other in {404, 405}


def test_readme_and_protocols_agree_on_the_paths() -> None:
    assert readme_paths() - protocol_paths() == {("GET", "/metrics")}
    assert protocol_paths() <= readme_paths()
    assert {path.strip("/") for _, path in readme_paths()} >= FIXED.keys()


def test_readme_and_the_openapi_page_agree_on_the_paths() -> None:
    described = {
        (method.upper(), path.replace("{model}", "MODEL").replace("{version}", "VERSION"))
        for path, item in json.loads(description())["paths"].items()
        for method in set(item) & {"get", "post"}
    }

    assert described == readme_paths()


def test_an_undocumented_path_is_not_there() -> None:
    assert ask("GET", "/v2/models/MODEL/generate")[0] == 404
    assert "unknown path" in ask("GET", "/v2/models/MODEL/generate")[1]


def ask(method: str, path: str) -> tuple[int, str]:
    """Send a request to a gateway that hosts nothing."""

    def no_transport(application: str) -> Any:
        raise AssertionError(application)

    counters = Counters("test")
    inference = Inference(no_transport, counters)
    gateway = GatewayApp(inference, counters, Surroundings(counters), 1024)
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        return {"type": "http.request", "body": b""}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    scope = {"type": "http", "method": method, "path": path, "headers": []}
    asyncio.run(gateway(scope, receive, send))
    return sent[0]["status"], sent[1]["body"].decode()


@pytest.mark.parametrize("header", [calls.ROUTING_KEY, calls.REQUEST_ID, calls.MODEL_VERSION])
def test_every_header_is_documented(header: bytes) -> None:
    name = f"`{header.decode().title()}`"

    assert name in {row[0] for row in rows(section(README, "HTTP API"))}
    assert name in {row[0] for row in rows(section(PROTOCOLS, "Headers"))}


@pytest.mark.parametrize(
    ("condition", "error"),
    [
        ("malformed body, header or shape", MalformedRequestError("x")),
        ("inputs that do not fit the signature", SignatureMismatchError("x")),
        ("`params` that do not fit the signature", ParamsMismatchError("x")),
        ("unknown path, model or version", NotFoundError("x")),
        ("wrong method", MethodNotAllowedError("PUT", "GET")),
        ("body that does not arrive in time", SlowRequestError(60.0)),
        ("body too large", RequestTooLargeError(2, 1)),
        ("unknown content type or encoding", UnsupportedMediaError("x")),
        ("the model raised", PredictionError("wine", "1", "x")),
        ("the model is not ready", ModelNotReadyError("wine", "x")),
        ("the queue is full", OverloadedError("wine", 1)),
        ("two replicas died under the request", ReplicaLostError("wine", "1")),
        ("no answer within the deadline", DeadlineExceededError("wine", 1.0)),
    ],
)
def test_statuses_of_errors_are_the_documented_ones(condition: str, error: FleetError) -> None:
    table = {row[0]: row[1:] for row in rows(section(PROTOCOLS, "Errors"))}

    assert table[condition] == [
        str(open_inference_error(error).status),
        f"`{grpc_name(error)}`",
        str(mlflow_error(error).status),
    ]


def test_every_grpc_method_is_documented() -> None:
    table = rows(section(PROTOCOLS, "gRPC"))

    assert {row[0] for row in table if not row[0].startswith("method of")} == {
        f"`{method}`" for methods in SERVICES.values() for method in methods
    }
    assert {row[0] for row in table if row[0].startswith("method of")} == {
        f"method of `{service}`" for service in SERVICES
    }


def test_datatypes_and_reserved_parameters_are_documented() -> None:
    text = PROTOCOLS.read_text()

    # UINT8 to UINT64 and INT8 to INT64 stand for the widths between.
    assert [word for word in DTYPES if f"`{word}`" not in text] == [
        "UINT16", "UINT32", "INT16", "INT32",
    ]  # fmt: skip
    assert [name for name in RESERVED_PARAMETERS if f"`{name}`" not in text] == []


def test_documents_name_no_folder_of_ours() -> None:
    assert not re.search(r"(/work/|/root/|/home/)", EVERYTHING)
