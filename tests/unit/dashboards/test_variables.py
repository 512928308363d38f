"""Queries of panels are narrowed to what the variables select."""

from dashboards.variables import narrowed


def test_raw_series_is_narrowed_by_installation_job_and_instance() -> None:
    query = 'rate(shadow_served_total{job="shadow-proxy"}[5m])'

    assert narrowed(query) == (
        'rate(shadow_served_total{installation=~"$installation",job=~"$job",instance=~"$instance",job="shadow-proxy"}[5m])'
    )


def test_recorded_series_is_narrowed_by_the_labels_that_it_keeps() -> None:
    assert narrowed("shadow:journal_runner:gap") == 'shadow:journal_runner:gap{installation=~"$installation"}'


def test_matchers_of_a_recorded_series_are_kept() -> None:
    query = 'side:shadow_errors:ratio5m{side="legacy"}'

    assert narrowed(query) == 'side:shadow_errors:ratio5m{installation=~"$installation",job=~"$job",side="legacy"}'
