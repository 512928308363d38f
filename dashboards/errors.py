"""What can be wrong with a dashboard or a rule; all are our own mistakes, found when the files are written.

DashboardError
├── UnknownMetricError   a metric that no process has
└── UnknownLabelError    a label that the metric does not have
"""


class DashboardError(Exception):
    """A dashboard or rule that would show nothing."""


class UnknownMetricError(DashboardError):
    """No process has a metric of this name."""


class UnknownLabelError(DashboardError):
    """The metric does not have this label."""
