"""What README and docs show is executed, or checked by the code that would execute it."""

import argparse
import json
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from mlflow.deployments.cli import commands as mlflow_deployments
from ray.scripts.scripts import cli as ray_cli
from ray.serve.config import gRPCOptions
from ray.serve.schema import ServeDeploySchema
from ray.serve.scripts import cli as serve_cli

from benchmarks.deploy import parser as deploy_benchmark_parser
from benchmarks.judge import parser as judge_benchmark_parser
from benchmarks.pool import parser as pool_benchmark_parser
from benchmarks.racing.__main__ import parser as racing_benchmark_parser
from benchmarks.rollouts import parser as rollouts_benchmark_parser
from benchmarks.serving.__main__ import parser as benchmark_parser
from benchmarks.suite.__main__ import parser as suite_benchmark_parser
from benchmarks.traces import parser as traces_benchmark_parser
from benchmarks.tuning_options import nodes_parser, reaching_parser
from benchmarks.tuning_options import parser as tuning_benchmark_parser
from deployments.cli import _parser as rayfleet_parser
from deployments.controller.api import NewDeployment
from deployments.controller.feedback_api import Item, Results
from deployments.controller.heldout import ANYTHING, requests_of
from deployments.errors import RequestError
from deployments.gateway.grpc_methods import add_to_server
from deployments.mlflow_plugin import TARGET
from deployments.protocols.mlflow_scoring import decode_cheaply
from deployments.protocols.open_inference import decode_infer
from deployments.protocols.tensors import Layout, Request, Signature, TensorSpec
from deployments.schema import FleetSpec
from deployments.serveconfig import schema_faults
from deployments.training.views import NewSweep
from deployments.userconfig import ModelsSpec
from deployments.validation import IMPORT_PATH
from tests.cluster_commands import (
    check_bash,
    check_docker,
    check_git,
    check_helm,
    check_kubectl,
)
from tests.documents import (
    DOCUMENTS,
    README,
    REPOSITORY,
    Block,
    Command,
    blocks,
    commands,
    http_request,
    options,
)
from tuning.__main__ import GENERATE, _generate, _generate_parser, _sweep_parser
from tuning.commands import COMMANDS as TUNING_COMMANDS
from tuning.home import resolve_home
from tuning.selecting.rules import SelectionSpec
from tuning.spec import SweepSpec, check_sweep

FIRST_SCREEN = 25
"""Line by which README has shown what comes out."""

WINE = Signature(
    Layout.TENSOR,
    (TensorSpec("input-0", "FP32", (-1, 13), mlflow_type="float32"),),
    (TensorSpec("output-0", "FP32", (-1, 3), mlflow_type="float32"),),
    {
        "inputs": json.dumps(
            [{"type": "tensor", "tensor-spec": {"dtype": "float32", "shape": [-1, 13]}}]
        )
    },
)
"""What the model `wine` promises, which the shown requests go to."""

COMMANDS = commands(*DOCUMENTS)
CURLS = [command for command in COMMANDS if command.program == "curl"]
INFERENCE = [command for command in CURLS if http_request(command).port == 8000]
CONTROL = [command for command in CURLS if http_request(command).port == 8081]


def blocks_of(language: str) -> list[Block]:
    return [block for path in DOCUMENTS for block in blocks(path, language)]


def block_that_begins(line: str) -> Block:
    (found,) = [
        block for path in DOCUMENTS for block in blocks(path) if block.text.startswith(line)
    ]
    return found


def test_every_block_is_of_a_kind_that_is_checked() -> None:
    kinds = {block.language for path in DOCUMENTS for block in blocks(path)}

    assert kinds <= {"console", "yaml", "json", "jsonl", "python", ""}


def test_output_is_on_the_first_screen() -> None:
    first = commands(README)[0]
    block = blocks(README, "console")[0]

    assert first.output
    assert block.line + block.text.count("\n") + 2 <= FIRST_SCREEN


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.place)
def test_command_is_one_that_the_program_understands(command: Command) -> None:
    CHECKS[command.program](command)


def check_make(command: Command) -> None:
    variables = re.findall(r"^([A-Z]+) \?=", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
    asked = {word.partition("=")[0] for word in command.words[1:]}
    assert asked <= make_targets() | set(variables)
    if shutil.which("make") is not None:
        run = ["make", "-n", *command.words[1:]]
        subprocess.run(run, cwd=REPOSITORY, check=True, capture_output=True)


def check_rayfleet(command: Command) -> None:
    check_arguments(rayfleet_parser(), command.words[1:])


def check_arguments(parser: argparse.ArgumentParser, words: Sequence[str]) -> None:
    parser.parse_args(words)
    # argparse takes abbreviations, which would hide a misspelling.
    assert {word for word in words if word.startswith("-")} <= set(options(parser))


BENCHMARKS = {
    "deploy": deploy_benchmark_parser,
    "judge": judge_benchmark_parser,
    "nodes": nodes_parser,
    "pool": pool_benchmark_parser,
    "racing": racing_benchmark_parser,
    "reaching": reaching_parser,
    "rollouts": rollouts_benchmark_parser,
    "serving": benchmark_parser,
    "suite": suite_benchmark_parser,
    "traces": traces_benchmark_parser,
    "tuning": tuning_benchmark_parser,
}


def check_python(command: Command) -> None:
    match command.words[1:]:
        case ("-m", "tuning", *rest):
            check_tuning(rest)
        case ("-m", module, *rest) if module.startswith("benchmarks."):
            check_arguments(BENCHMARKS[module.removeprefix("benchmarks.")](), rest)
        case ("-m", "pytest"):
            pass
        case (script,):
            assert block_that_begins(f"# {script}\n").language == "python"
        case other:
            pytest.fail(f"nothing checks python {other}")


def check_tuning(words: Sequence[str]) -> None:
    name = words[0]
    if name == GENERATE:
        check_arguments(_generate_parser(), words[1:])
    elif name in TUNING_COMMANDS:
        check_arguments(TUNING_COMMANDS[name].parser(), words[1:])
    else:
        check_arguments(_sweep_parser(), words)


def check_ray(command: Command) -> None:
    check_click(ray_cli, command.words[1:])
    if "--" in command.words:
        inner = command.words[command.words.index("--") + 1 :]
        check_python(Command(command.path, command.line, inner, ""))


def check_serve(command: Command) -> None:
    check_click(serve_cli, command.words[1:])


def check_click(group: click.Command, words: tuple[str, ...]) -> None:
    """Parse as click would, without invoking."""
    context = group.make_context(group.name, list(words))
    while isinstance(group, click.Group):
        left = [*context._protected_args, *context.args]
        name, found, rest = group.resolve_command(context, left)
        assert found is not None, words
        group = found
        context = group.make_context(name, rest, parent=context)


def check_mlflow(command: Command) -> None:
    if command.words[1] == "deployments":
        check_click(mlflow_deployments, command.words[2:])
        assert command.words[command.words.index("-t") + 1] == TARGET
        return
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RAYFLEET_HOME", str(REPOSITORY / ".rayfleet"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        uri = resolve_home().tracking_uri.replace(f"{REPOSITORY}/", "")

    assert command.words[1:] == ("ui", "--backend-store-uri", uri)


def check_export(command: Command) -> None:
    assert all(re.fullmatch(r"[A-Z_]+=\S+", word) for word in command.words[1:])


def check_tool(command: Command) -> None:
    """The tools of `make lint`, which run as they are there."""
    line = " ".join([command.program, *command.words[1:]])
    assert f"$(BIN)/{line}\n" in (REPOSITORY / "Makefile").read_text()


def check_monitor(command: Command) -> None:
    """Prometheus and Alertmanager, as the first line of their config says to start them."""
    (config,) = [word for word in command.words if word.startswith("--config.file=")]
    path = REPOSITORY / config.partition("=")[2]
    assert path.read_text().splitlines()[0].endswith(" ".join(command.words))


CHECKS: dict[str, Callable[[Command], None]] = {
    "bash": check_bash,
    "curl": lambda command: None,  # below
    "docker": check_docker,
    "export": check_export,
    "git": check_git,
    "helm": check_helm,
    "kubectl": check_kubectl,
    "lint-imports": check_tool,
    "make": check_make,
    "mlflow": check_mlflow,
    "mypy": check_tool,
    "prometheus": check_monitor,
    "prometheus-alertmanager": check_monitor,
    "python": check_python,
    "ray": check_ray,
    "rayfleet": check_rayfleet,
    "ruff": check_tool,
    "serve": check_serve,
}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_targets_that_the_text_names_exist(path: Path) -> None:
    named = set(re.findall(r"`make ([a-z-]+)`", path.read_text()))

    assert named <= make_targets()


def make_targets() -> set[str]:
    makefile = (REPOSITORY / "Makefile").read_text()
    return set(re.findall(r"^([a-z-]+):.*## ", makefile, flags=re.MULTILINE))


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_links_lead_somewhere(path: Path) -> None:
    for target in re.findall(r"\]\(([^)]+)\)", path.read_text()):
        if target.startswith("https://"):
            continue
        name, _, anchor = target.partition("#")
        file = path.parent / name if name else path
        assert file.is_file(), target
        assert not anchor or anchor in anchors(file), target


def anchors(path: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", path.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda path: path.name)
def test_files_that_the_text_names_exist(path: Path) -> None:
    for word in re.findall(r"`((?:configs|docs|tests|kuberay|\.ci)/[\w./-]+)`", path.read_text()):
        example = word == "tests/deployments/traffic/test_split.py"  # where its test would be
        assert example or (REPOSITORY / word).exists(), word


@pytest.mark.parametrize("block", blocks_of("yaml"), ids=lambda block: block.place)
def test_yaml_is_a_valid_config(block: Block) -> None:
    raw = yaml.safe_load(block.text)

    if "applications" in raw:
        assert list(schema_faults(raw, ServeDeploySchema)) == []
        ServeDeploySchema.model_validate(raw)
        (application,) = raw["applications"]
        assert application["import_path"] == IMPORT_PATH
        FleetSpec.load(application["args"], where=block.place)
        (controller,) = application["deployments"]
        ModelsSpec.load(controller["user_config"], where=block.place)
    elif "grpc_options" in raw:
        assert list(schema_faults(raw, ServeDeploySchema)) == []
        assert gRPCOptions(**raw["grpc_options"]).grpc_servicer_func_callable == [add_to_server]
    elif "args" in raw:
        FleetSpec.load(raw["args"], where=block.place)
    elif "groups" in raw:
        check_rules(block)
    elif "tie_breaks" in raw:
        SelectionSpec.load(raw, where=block.place)
    elif "models" in raw:
        ModelsSpec.load(raw, where=block.place)
    else:
        SweepSpec.load(raw, where=block.place)


def check_rules(block: Block) -> None:
    """Rules of Prometheus, one of which must feed those that we ship."""
    shipped = "".join(path.read_text() for path in REPOSITORY.glob("configs/monitoring/rules/*"))
    (group,) = yaml.safe_load(block.text)["groups"]
    assert all(rule["record"] in shipped for rule in group["rules"])
    if shutil.which("promtool") is not None:
        check = ["promtool", "check", "rules", "/dev/stdin"]
        subprocess.run(check, input=block.text, text=True, check=True, capture_output=True)


@pytest.mark.parametrize("block", blocks_of("json"), ids=lambda block: block.place)
def test_json_is_a_request_that_is_accepted(block: Block) -> None:
    assert decoded(block.text.encode()).rows == 1


@pytest.mark.parametrize("block", blocks_of("jsonl"), ids=lambda block: block.place)
def test_kept_requests_are_read(block: Block) -> None:
    with_answer, without = requests_of(block.place, block.text.encode(), ANYTHING)

    assert with_answer.expected is not None
    assert without.expected is None


@pytest.mark.parametrize("command", INFERENCE, ids=lambda command: command.place)
def test_curl_sends_what_its_output_answers(command: Command) -> None:
    request = http_request(command)
    shown = json.loads(command.output)

    if request.body is None:
        assert request.path == "/v2/models/wine"
        assert shown["inputs"] == [{"name": "input-0", "datatype": "FP32", "shape": [-1, 13]}]
    elif "error" in shown:
        with pytest.raises(RequestError) as refused:
            decoded(request.body)
        assert str(refused.value) == shown["error"]
    else:
        assert decoded(request.body).rows == 1


@pytest.mark.parametrize("command", CONTROL, ids=lambda command: command.place)
def test_curl_asks_what_the_control_api_understands(command: Command) -> None:
    request = http_request(command)

    if request.body is None:
        deployments = r"deployments/[a-z-]+(/versions/\d+/differences)?"
        assert re.fullmatch(rf"/api/v1/({deployments}|training/[a-z/-]+)", request.path)
    elif request.path == "/api/v1/training":
        SweepSpec.load(NewSweep.model_validate_json(request.body).spec, where=command.place)
    elif request.path == "/api/v1/feedback":
        Item.model_validate_json(request.body)
        (result,) = Results.model_validate_json(command.output).results
        assert result.model_dump_json() == command.output[len('{"results":[') : -2]
    else:
        body = NewDeployment.model_validate_json(request.body)
        ModelsSpec.load({"models": {body.name: body.spec}})
        assert (request.method, request.path) == ("POST", "/api/v1/deployments")


def decoded(body: bytes) -> Request:
    """Read a body in the protocol that its first input speaks."""
    if isinstance(json.loads(body)["inputs"][0], dict):
        return decode_infer(body, None, WINE)
    request = decode_cheaply(body, "application/json", WINE)
    assert request is not None
    return request


@pytest.mark.parametrize("block", blocks_of("python"), ids=lambda block: block.place)
def test_python_compiles(block: Block) -> None:
    compile(block.text, block.place, "exec")


def test_own_trainer_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    trainer = block_that_begins("# neighbours.py")
    sweep = block_that_begins("name: neighbours")
    (tmp_path / "neighbours.py").write_text(trainer.text)
    monkeypatch.syspath_prepend(tmp_path)

    task = check_sweep(SweepSpec.load(yaml.safe_load(sweep.text), where=sweep.place), sweep.place)
    rows, labels = task.training_rows
    model = task.trainer.refit({"k": 3}, rows, labels)

    assert task.trainer.score(model, *task.holdout_rows)["accuracy"] > 0.9


def test_generated_data_fits_the_sweeps_that_name_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (generate,) = [command for command in commands(README) if GENERATE in command.words]
    sweeps: list[dict[str, Any]] = [yaml.safe_load(block.text) for block in blocks_of("yaml")]
    monkeypatch.chdir(tmp_path)

    _generate(_generate_parser().parse_args(generate.words[4:]))

    assert capsys.readouterr().out.strip() == generate.output
    named = [sweep for sweep in sweeps if sweep.get("data", {}).get("path") == "rows.csv"]
    assert len(named) == 2
    for sweep in named:
        check_sweep(SweepSpec.load(sweep, where="risks.yaml"), "risks.yaml")
