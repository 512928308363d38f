"""Grafana dashboards and Prometheus rules as code, built from the metric names that the packages declare.

    metric_catalog    every metric of proxy, runner, comparator and scorer, with its labels and its scrape job
    promql            functions that build PromQL expressions
    panels            functions that build Grafana panels
    links             screens of the web UI and sections of RUNBOOK.md that panels and alerts lead to
    variables         installation, job and instance: what every query of a panel is narrowed to
    annotations       promotions, rollbacks, pauses, reloads, restarts and resyncs, marked on every graph
    dashboard         the frame of all dashboards

    overview          five dashboards, one a module: which side serves and whether both agree,
    rollout           the steps, and each gate with its evidence,
    comparison        the results of comparisons and the state of the shadow database,
    proxy, scorer     and the internals of these two programs

    recording_rules   series that Prometheus precomputes for dashboards and alerts
    alert_rules       alerts, each with its impact on clients, the first step, the RUNBOOK section and the dashboard

    generated_files   all of these rendered as JSON and YAML; `make dashboards` writes them to generated/

`provisioning/` holds the configuration of Grafana, Prometheus and Alertmanager for one installation. To add a metric, declare it in
the `metrics` module of its package, list it in `metric_catalog`, and show it on a dashboard: tests fail for a metric that is not
listed or not shown. A renamed metric is renamed everywhere, a removed metric or an unknown label is an error at import.
"""
