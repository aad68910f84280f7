"""The whole fleet on one page: is it there, what does it do, which model is in trouble."""

from grafana_foundation_sdk.builders.dashboard import Dashboard, Row

from dashboards.panels import HALF, board, lines, number, rows


def fleet() -> Dashboard:
    """Build the board."""
    return (
        board("rayfleet-fleet", "Rayfleet: fleet", "All models of a fleet, and its own parts.")
        .with_row(Row("Now"))
        .with_panel(number("Requests", "sum(rate(rayfleet_requests_total[1m]))", unit="reqps"))
        .with_panel(
            number(
                "Failing",
                '(sum(rate(rayfleet_errors_total{origin!="caller"}[5m])) or vector(0))'
                " / sum(rate(rayfleet_requests_total[5m]))",
                unit="percentunit",
                bounds=[(0.001, "orange"), (0.01, "red")],
                about="Share of requests that failed by the fleet's fault or a version's.",
            )
        )
        .with_panel(
            number(
                "Gateways missing",
                "max(rayfleet_gateways_wanted) - count(rayfleet_table_revision)",
                unit="none",
                bounds=[(1, "red")],
            )
        )
        .with_panel(
            number(
                "Versions not ready",
                "count(rayfleet_version_ready == 0) or vector(0)",
                unit="none",
                bounds=[(1, "orange")],
            )
        )
        .with_panel(
            number(
                "Registry and store",
                "min(rayfleet_dependency_up)",
                unit="bool_on_off",
                bounds=[(-1, "red"), (1, "green")],
                about="Off where the controller's last call of either failed.",
            )
        )
        .with_panel(
            number(
                "Alerts",
                'count(ALERTS{alertname=~"Rayfleet.+",alertstate="firing"}) or vector(0)',
                unit="none",
                bounds=[(1, "red")],
            )
        )
        .with_row(Row("Models"))
        .with_panel(
            lines(
                "Requests by model",
                (
                    'sum by (model) (rate(rayfleet_requests_total{model!=""}[$__rate_interval]))',
                    "{{model}}",
                ),
                unit="reqps",
                stacked=True,
            )
        )
        .with_panel(
            lines(
                "Burn rate of the availability objective",
                ("model:rayfleet_availability:burn_rate1h", "{{model}} 1 h"),
                ("model:rayfleet_availability:burn_rate5m", "{{model}} 5 min"),
                unit="none",
                about="How many times faster than sustainable the error budget of 30 days is spent; 14.4 pages.",
            )
        )
        .with_panel(
            lines(
                "99th percentile of answers",
                (
                    (
                        "histogram_quantile(0.99, sum by (model, le)"
                        ' (rate(rayfleet_request_seconds_bucket{model!=""}[$__rate_interval])))'
                    ),
                    "{{model}}",
                ),
                unit="s",
            )
        )
        .with_panel(
            lines(
                "Failures by model and origin",
                (
                    'sum by (model, origin) (rate(rayfleet_errors_total{model!=""}[$__rate_interval]))',
                    "{{model}} {{origin}}",
                ),
                unit="reqps",
                about="caller: the request was wrong. version: the model raised or answered NaN. fleet: all else.",
            )
        )
        .with_panel(
            lines(
                "Waiting and in flight",
                ("sum by (model) (rayfleet_in_flight)", "{{model}}"),
                unit="none",
            )
        )
        .with_panel(
            lines(
                "Refused",
                (
                    (
                        'sum by (model) (rate(rayfleet_requests_total{code=~"429|503|UNAVAILABLE|RESOURCE_EXHAUSTED"}'
                        "[$__rate_interval]))"
                    ),
                    "{{model}}",
                ),
                unit="reqps",
            )
        )
        .with_row(Row("Parts"))
        .with_panel(
            rows(
                "Versions",
                "max by (model, version, track) (rayfleet_version_weight)",
                width=HALF,
                about="Percent of its model's requests.",
            )
        )
        .with_panel(
            lines(
                "Routing table in force",
                ("rayfleet_table_revision", "{{gateway}}"),
                unit="none",
                about="Gateways of equal revisions act alike.",
            )
        )
        .with_panel(
            number(
                "Deployed config refused",
                "max(rayfleet_config_refused)",
                unit="bool_yes_no",
                bounds=[(1, "red")],
                about="Yes where the last good config is in force instead; `rayfleet doctor` says why.",
            )
        )
    )
