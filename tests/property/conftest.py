"""How properties are tested: without a deadline, because how busy the machine is says nothing about the code."""

from hypothesis import settings

settings.register_profile("unhurried", deadline=None)
settings.load_profile("unhurried")
