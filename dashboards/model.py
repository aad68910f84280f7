"""One model with its versions side by side."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row
from grafana_foundation_sdk.builders.timeseries import Panel

from dashboards.panels import HALF, THIRD, board, choice, lines, rows

VERSION = 'model="$model",version=~"$version"'
LEGEND = "{{version}} {{track}}"


def model() -> Dashboard:
    """Build the board."""
    about = "What each version of one model does, beside the others."
    return (
        board("rayfleet-model", "Rayfleet: model", about)
        .with_variable(
            choice("model", "Model", "label_values(rayfleet_version_weight, model)", several=False)
        )
        .with_variable(
            choice(
                "version",
                "Version",
                'label_values(rayfleet_version_weight{model="$model"}, version)',
                several=True,
            )
        )
        .with_row(Row("Traffic"))
        .with_panel(
            by_version(
                "Requests", f"rate(rayfleet_requests_total{{{VERSION}}}[$__rate_interval])", "reqps"
            )
        )
        .with_panel(
            lines(
                "Failures by code and origin",
                (
                    f"sum by (version, track, code, origin) (rate(rayfleet_errors_total{{{VERSION}}}[$__rate_interval]))",
                    f"{LEGEND} {{{{code}}}} {{{{origin}}}}",
                ),
                unit="reqps",
                width=THIRD,
            )
        )
        .with_panel(
            lines(
                "Failing share",
                (f"version:rayfleet_failures:ratio_rate5m{{{VERSION}}}", LEGEND),
                unit="percentunit",
                width=THIRD,
                about="What arose in the version itself, over 5 minutes.",
            )
        )
        .with_row(Row("Time"))
        .with_panel(
            quantiles(
                "Answers", "rayfleet_request_seconds", "From a request's last byte to its answer."
            )
        )
        .with_panel(
            quantiles(
                "Predict", "rayfleet_predict_seconds", "The replica's own time for one batch."
            )
        )
        .with_panel(
            quantiles("Queue", "rayfleet_queue_seconds", "A request's wait for its batch to start.")
        )
        .with_row(Row("Batches and replicas"))
        .with_panel(
            lines(
                "Rows in a batch",
                (
                    (
                        f"sum by (version, track) (rate(rayfleet_batch_rows_sum{{{VERSION}}}[$__rate_interval]))"
                        f" / sum by (version, track) (rate(rayfleet_batch_rows_count{{{VERSION}}}[$__rate_interval]))"
                    ),
                    LEGEND,
                ),
                unit="none",
                width=THIRD,
            )
        )
        .with_panel(by_version("Waiting and in flight", f"rayfleet_in_flight{{{VERSION}}}", "none"))
        .with_panel(by_version("Replicas", f"rayfleet_version_replicas{{{VERSION}}}", "none"))
        .with_row(Row("Inputs"))
        .with_panel(
            lines(
                "Drift of the farthest features",
                (
                    f"max by (version, feature) (ray_rayfleet_input_drift{{{VERSION}}})",
                    "{{version}} {{feature}}",
                ),
                unit="none",
                about="Population stability index of what is asked, beside the training rows."
                " From 0.2 on a feature has drifted, unless that is by chance.",
            )
        )
        .with_panel(
            lines(
                "Features that have drifted",
                (
                    f"max by (version) (ray_rayfleet_drifted_features{{{VERSION}}})",
                    "{{version}}",
                ),
                unit="none",
            )
        )
        .with_row(Row("Objectives"))
        .with_panel(
            lines(
                "Availability: burn rate",
                *[
                    (f'model:rayfleet_availability:burn_rate{window}{{model="$model"}}', window)
                    for window in ("5m", "1h", "6h", "3d")
                ],
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Latency: burn rate",
                *[
                    (f'model:rayfleet_latency:burn_rate{window}{{model="$model"}}', window)
                    for window in ("5m", "1h", "6h", "3d")
                ],
                unit="none",
            )
        )
        .with_panel(
            rows(
                "Answers by protocol and code in the last hour",
                "sum by (version, track, protocol, code)"
                f" (increase(rayfleet_requests_total{{{VERSION}}}[1h]))",
                width=HALF,
            )
        )
        .with_panel(
            lines(
                "Last answer",
                (
                    f"time() - max by (version, track) (rayfleet_last_answer_timestamp_seconds{{{VERSION}}})",
                    LEGEND,
                ),
                unit="s",
                about="How long nobody has asked.",
            )
        )
    )


def by_version(title: str, query: str, unit: str) -> Panel:
    """Sums of a query for each version."""
    return lines(title, (f"sum by (version, track) ({query})", LEGEND), unit=unit, width=THIRD)


def quantiles(title: str, metric: str, about: str) -> Panel:
    """Median and tail of a histogram for each version."""
    return lines(
        title,
        *[
            (
                (
                    f"histogram_quantile({quantile}, sum by (version, track, le)"
                    f" (rate({metric}_bucket{{{VERSION}}}[$__rate_interval])))"
                ),
                f"{LEGEND} p{quantile * 100:g}",
            )
            for quantile in (0.5, 0.95, 0.99)
        ],
        unit="s",
        width=THIRD,
        about=about,
    )
