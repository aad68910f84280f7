"""A job API that remembers what it was asked to run, and runs nothing."""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import yaml

from deployments.errors import DependencyError
from deployments.training.jobs import WHAT, Job


class FakeJobs:
    """Keeps jobs in a list, the newest first."""

    def __init__(self) -> None:
        self.jobs: list[Job] = []
        self.commands: list[str] = []
        self.folders: list[Path] = []
        self.sent: list[dict[str, object]] = []
        self.away = False

    def all(self) -> list[Job]:
        self._require_there()
        return list(self.jobs)

    def submit(self, job_id: str, command: str, folder: Path, metadata: Mapping[str, str]) -> None:
        self._require_there()
        self.commands.append(command)
        self.folders.append(folder)
        self.sent.append(yaml.safe_load((folder / command.rsplit(maxsplit=1)[-1]).read_text()))
        number = len(self.jobs)
        self.jobs.insert(0, Job(job_id, "PENDING", "", float(number), dict(metadata)))

    def logs(self, job_id: str) -> str:
        self._require_there()
        return "".join(f"{job_id} line {number}\n" for number in range(10))

    def stop(self, job_id: str) -> None:
        self._require_there()
        self.turn(job_id, "STOPPED")

    def turn(self, job_id: str, status: str) -> None:
        """Let a job become something else."""
        self.jobs = [
            replace(job, status=status) if job.job_id == job_id else job for job in self.jobs
        ]

    def _require_there(self) -> None:
        if self.away:
            raise DependencyError(WHAT, "ConnectionError: nobody answers")
