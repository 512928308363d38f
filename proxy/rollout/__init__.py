"""Who serves: the plan that follows from settings and the on-call switch that overrides it.

`plan` (pure) says which side a bucket is served by; `switch` holds the latched rollback in memory, on disk and by a sentinel file.
"""
