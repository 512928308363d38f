"""Hypothesis settings: no deadline, because the duration of an example depends on the load of the machine.

`make test` tries 40 examples of a property, `make test-matrix` 400.
"""

from hypothesis import settings

from tests.support.matrix import FULL

settings.register_profile("suite", deadline=None, max_examples=400 if FULL else 40)
settings.load_profile("suite")
