"""Grafana dashboards and Prometheus rules as code, built from the metric names that the packages declare."""
