"""How traffic moves from one version to the next, and whether the next one is worse."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.panels import HALF, WIDTH, board, choice, lines, note, rows

MODEL = 'model=~"$model"'
LEGEND = "{{model}} {{version}} {{track}}"

MOVED = (
    f"max by (model, version, track) (rayfleet_version_weight{{{MODEL}}})"
    f" != max by (model, version, track) (rayfleet_version_weight{{{MODEL}}} offset 1m)"
)
"""Versions whose weight is another one than a minute ago."""

CAME = (
    f"max by (model, version, track) (rayfleet_version_weight{{{MODEL}}})"
    f" unless max by (model, version, track) (rayfleet_version_weight{{{MODEL}}} offset 1m)"
)
"""Versions that were not hosted a minute ago, or had another track."""


def rollouts() -> Dashboard:
    """Build the board."""
    about = "Weights of versions over time, and both sides of each split beside each other."
    return (
        board("rayfleet-rollouts", "Rayfleet: rollouts", about)
        .annotation(note("Weights", MOVED, "blue"))
        .annotation(note("New versions", CAME, "purple"))
        .with_variable(
            choice("model", "Model", "label_values(rayfleet_version_weight, model)", several=True)
        )
        .with_row(Row("Traffic"))
        .with_panel(
            lines(
                "Weight",
                (f"max by (model, version, track) (rayfleet_version_weight{{{MODEL}}})", LEGEND),
                unit="percent",
                top=100,
                width=WIDTH,
                about="Percent of its model's requests. Marks: a weight moved, a version came.",
            )
        )
        .with_panel(
            lines(
                "Share of requests",
                (
                    (
                        f"sum by (model, version, track) (rate(rayfleet_requests_total{{{MODEL}}}[$__rate_interval]))"
                        " / on (model) group_left ()"
                        f" sum by (model) (rate(rayfleet_requests_total{{{MODEL}}}[$__rate_interval]))"
                    ),
                    LEGEND,
                ),
                unit="percentunit",
                about="What the split made of the weights, pinned versions included.",
            )
        )
        .with_panel(
            lines(
                "Ready",
                (f"max by (model, version, track) (rayfleet_version_ready{{{MODEL}}})", LEGEND),
                unit="bool_on_off",
            )
        )
        .with_row(Row("Canary beside stable"))
        .with_panel(
            lines(
                "Failing share",
                (f"version:rayfleet_failures:ratio_rate5m{{{MODEL}}}", LEGEND),
                unit="percentunit",
            )
        )
        .with_panel(
            lines(
                "95th percentile of predict time",
                (f"version:rayfleet_predict_seconds:p95_5m{{{MODEL}}}", LEGEND),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "95th percentile of batches' answers",
                (
                    f"histogram_quantile(0.95, sum by (model, version, track, le) (rate(rayfleet_answer_seconds_bucket{{{MODEL}}}[$__rate_interval])))",
                    LEGEND,
                ),
                unit="s",
                about="From a batch's first request to its prediction, transport left out: what the judge compares.",
            )
        )
        .with_panel(
            lines(
                "Mirrored requests by outcome",
                (
                    f"sum by (model, version, outcome) (rate(rayfleet_mirrored_total{{{MODEL}}}[$__rate_interval]))",
                    "{{model}} {{version}} {{outcome}}",
                ),
                unit="reqps",
            )
        )
        .with_panel(
            rows(
                "Versions now",
                f"max by (model, version, track) (rayfleet_version_weight{{{MODEL}}})",
                width=HALF,
            )
        )
        .with_panel(
            lines(
                "Replicas",
                (f"max by (model, version, track) (rayfleet_version_replicas{{{MODEL}}})", LEGEND),
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Rollouts that ended",
                (
                    f"max by (model, outcome) (rayfleet_rollout_endings_total{{{MODEL}}})",
                    "{{model}} {{outcome}}",
                ),
                unit="none",
                about="Since the controller started.",
            )
        )
    )
