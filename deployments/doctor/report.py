"""Show findings to people, or to programs."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from deployments.doctor.checks import Finding, Level, diagnose, is_wrong
from deployments.doctor.collecting import collect

MARKS = {Level.OK: "ok", Level.WARNING: "warning", Level.WRONG: "WRONG"}


def run(config: Path | None, *, as_json: bool) -> int:
    """Look, decide, show.

    Returns:
        Exit status: 1 when something is wrong, else 0.
    """
    findings = diagnose(collect(config))
    print(as_object(findings) if as_json else as_text(findings))
    return 1 if is_wrong(findings) else 0


def as_text(findings: Sequence[Finding]) -> str:
    """A line for each finding, and its remedy below it; what is wrong comes last."""
    order = list(Level)
    lines = []
    for finding in sorted(findings, key=lambda each: order.index(each.level)):
        lines.append(f"{MARKS[finding.level]:8}{finding.area:10}{finding.what}")
        if finding.remedy:
            lines.append(f"{'':18}-> {finding.remedy}")
    n_wrong = sum(finding.level is Level.WRONG for finding in findings)
    lines.append("nothing is wrong" if not n_wrong else f"{n_wrong} to mend")
    return "\n".join(lines)


def as_object(findings: Sequence[Finding]) -> str:
    """The same as JSON."""
    return json.dumps(
        {"wrong": is_wrong(list(findings)), "findings": [asdict(each) for each in findings]},
        indent=2,
    )
