"""A stand-in for the legacy backend: Django and django-ninja over the legacy tables, for V2 scores, the app's writes and /health/.

It gives tests and the demo a second, independent implementation to compare the new scorer with: same tables, same order of
statements, every statement committed on its own. It shares no code with `scorer`. Its environment variables are the legacy's own
(`settings.py`); SHADOW_DIVERGENCES injects named faults (`divergences.py`).
"""
