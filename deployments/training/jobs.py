"""Ray's job API, as much of it as sweeps need. Every call may block."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from deployments.errors import ConflictError, DependencyError, MalformedRequestError, NotFoundError
from tuning.provenance import COMMIT_VARIABLE, commit_with_changes

SWEEP = "rayfleet.sweep"
"""Metadata of a job: the sweep's name."""

SPEC = "rayfleet.spec"
"""Metadata of a job: the sweep's whole spec as JSON, by which it can be submitted again."""

FOLDER = "rayfleet.folder"
"""Metadata of a job: the working directory that it was submitted from, if it was from one."""

WHAT = "Ray job API"

REFUSED = re.compile(r"Request failed with status code (\d+)")

ERRORS: Mapping[str, type[Exception]] = {
    "400": MalformedRequestError,
    "404": NotFoundError,
    "409": ConflictError,
}


@dataclass(frozen=True, slots=True)
class Job:
    """A job that runs a sweep."""

    job_id: str
    status: str
    """`PENDING`, `RUNNING`, `STOPPED`, `SUCCEEDED` or `FAILED`."""

    message: str
    started_at_s: float
    """Unix time."""

    metadata: Mapping[str, str]

    @property
    def sweep(self) -> str:
        """Name of its sweep."""
        return self.metadata.get(SWEEP, "")

    @property
    def active(self) -> bool:
        """Whether it has not ended."""
        return self.status in {"PENDING", "RUNNING"}


def provenance(folder: Path) -> dict[str, str]:
    """Environment that tells a job of which commit the folder was that it has a copy of."""
    commit = commit_with_changes(folder)
    return {} if commit is None else {COMMIT_VARIABLE: commit}


class Jobs(Protocol):
    """Where sweeps run."""

    def all(self) -> list[Job]:
        """Every job that runs a sweep, the newest first."""
        ...

    def submit(self, job_id: str, command: str, folder: Path, metadata: Mapping[str, str]) -> None:
        """Run a command line in a copy of a folder."""
        ...

    def logs(self, job_id: str) -> str:
        """All that a job has printed so far."""
        ...

    def stop(self, job_id: str) -> None:
        """Interrupt a job, as Ctrl-C does."""
        ...


class RayJobs:
    """The jobs of a cluster, through its dashboard, with the cluster's token."""

    def __init__(self, address: str | None, variables: Mapping[str, str]) -> None:
        """Connect with the first call.

        Args:
            address: The dashboard's or the GCS's; None finds the Ray of this process.
            variables: Environment of every job that is submitted.
        """
        self._address = address
        self._variables = variables
        self._client: Any = None

    def all(self) -> list[Job]:
        """As `Jobs` has it."""
        jobs = [
            Job(
                job_id=each.submission_id or "",
                status=str(getattr(each.status, "value", each.status)),
                message=each.message or "",
                started_at_s=(each.start_time or 0) / 1000,
                metadata=each.metadata or {},
            )
            for each in self._ask(lambda client: client.list_jobs())
            if SWEEP in (each.metadata or {})
        ]
        return sorted(jobs, key=lambda job: job.started_at_s, reverse=True)

    def submit(self, job_id: str, command: str, folder: Path, metadata: Mapping[str, str]) -> None:
        """As `Jobs` has it."""
        environment = {
            "working_dir": str(folder),
            "excludes": [".git", ".venv", ".venvs", ".rayfleet", "__pycache__"],
            "env_vars": {**self._variables, **provenance(folder)},
        }
        self._ask(
            lambda client: client.submit_job(
                entrypoint=command,
                submission_id=job_id,
                runtime_env=environment,
                metadata=dict(metadata),
            )
        )

    def logs(self, job_id: str) -> str:
        """As `Jobs` has it."""
        return str(self._ask(lambda client: client.get_job_logs(job_id)))

    def stop(self, job_id: str) -> None:
        """As `Jobs` has it."""
        self._ask(lambda client: client.stop_job(job_id))

    def _ask(self, call: Callable[[Any], Any]) -> Any:
        try:
            if self._client is None:
                # Seconds, which a refused argument must not cost.
                from ray.job_submission import JobSubmissionClient  # noqa: PLC0415, as above

                self._client = JobSubmissionClient(self._address)
            return call(self._client)
        except Exception as error:
            # A cluster that comes back may be another one.
            self._client = None
            first = (str(error).splitlines() or [""])[0][:300]
            refused = REFUSED.match(first)
            known = ERRORS.get(refused[1]) if refused is not None else None
            if known is not None:
                raise known(f"the {WHAT} refuses it: {first}") from error
            raise DependencyError(WHAT, f"{type(error).__name__}: {first}") from error
