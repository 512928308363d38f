"""Hypothesis settings: no deadline, because the duration of an example depends on the load of the machine."""

from hypothesis import settings

settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")
