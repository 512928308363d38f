"""Mistakes in a dashboard or a rule. All are ours and are raised when the module that makes one is imported.

DashboardError
├── UnknownMetricError   a metric that no process exports
└── UnknownLabelError    a label that the metric does not have
"""


class DashboardError(Exception):
    """A dashboard or rule whose query would return nothing."""


class UnknownMetricError(DashboardError):
    """No process exports a metric of this name."""


class UnknownLabelError(DashboardError):
    """The metric does not have this label."""
