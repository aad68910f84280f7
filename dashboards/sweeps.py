"""Sweeps while they run."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.panels import board, choice, lines

SWEEP = 'sweep=~"$sweep"'


def sweeps() -> Dashboard:
    """Build the board."""
    about = "Trials of running sweeps; MLflow has their parameters, metrics and errors."
    return (
        board("rayfleet-sweeps", "Rayfleet: sweeps", about)
        .with_variable(
            choice("sweep", "Sweep", "label_values(ray_rayfleet_sweep_trials, sweep)", several=True)
        )
        .with_row(Row("Trials"))
        .with_panel(
            lines(
                "Trials by state",
                (
                    f"max by (sweep, state) (ray_rayfleet_sweep_trials{{{SWEEP}}})",
                    "{{sweep}} {{state}}",
                ),
                (
                    f"max by (sweep) (ray_rayfleet_sweep_trials_planned{{{SWEEP}}})",
                    "{{sweep}} planned",
                ),
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Without progress for",
                (
                    f"time() - max by (sweep) (ray_rayfleet_sweep_progress_timestamp_seconds{{{SWEEP}}})",
                    "{{sweep}}",
                ),
                unit="s",
                about="Since a trial last began, reported or ended.",
            )
        )
        .with_panel(
            lines(
                "Done",
                (
                    (
                        f'sum by (sweep) (ray_rayfleet_sweep_trials{{{SWEEP},state!="running"}})'
                        f" / max by (sweep) (ray_rayfleet_sweep_trials_planned{{{SWEEP}}})"
                    ),
                    "{{sweep}}",
                ),
                unit="percentunit",
                top=1,
            )
        )
        .with_panel(
            lines(
                "Failed share of the trials that ended",
                (
                    (
                        f'sum by (sweep) (ray_rayfleet_sweep_trials{{{SWEEP},state="failed"}})'
                        f' / sum by (sweep) (ray_rayfleet_sweep_trials{{{SWEEP},state!="running"}})'
                    ),
                    "{{sweep}}",
                ),
                unit="percentunit",
                top=1,
            )
        )
        .with_row(Row("Ray"))
        .with_panel(
            lines(
                "CPUs and GPUs taken",
                ('sum by (Name) (ray_resources{Name=~"CPU|GPU",State="USED"})', "{{Name}}"),
                unit="none",
            )
        )
        .with_panel(lines("Jobs running", ("sum(ray_running_jobs)", "jobs"), unit="none"))
    )
