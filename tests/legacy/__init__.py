"""A stand-in for the legacy backend: Django and django-ninja over the legacy tables, for the V2 score endpoint and /health/.

It exists so that tests and the demo have a second, independent implementation to compare the new scorer with: same tables,
same statement order, every statement committed on its own. It shares no code with `scorer`.
Its environment variables are the legacy's own (`settings.py`); named faults are switched on by SHADOW_DIVERGENCES
(`divergences.py`).
"""
