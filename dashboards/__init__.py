"""Grafana's dashboards as code; `python -m dashboards` writes `configs/monitoring/grafana`."""
