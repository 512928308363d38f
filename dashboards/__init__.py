"""Grafana dashboards and Prometheus rules as code, built from the metric names that the packages declare.

`sources` takes every metric from the module that declares it and knows its labels; `promql` has the words, `panels` the builders.
`overview`, `comparison`, `scorer` and `proxy` are one dashboard each; `recording` and `alerts` are Prometheus' rules. `files` puts
them together, `python -m dashboards` writes them to `generated/`. `provisioning/` holds what Grafana, Prometheus and Alertmanager
are started with beside one installation. A renamed metric renames its panels; a removed one, and a wrong label, is an error here.
"""
