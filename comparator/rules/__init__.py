"""Comparison rules: compile them from config.yaml, apply them, and measure what a changed rule would do. Pure but for `what_if_stored`."""
