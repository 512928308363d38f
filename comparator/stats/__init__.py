"""Statistics of verdicts. Pure.

`confidence` has confidence sequences, `quantile_sketch` distributions, `distinct_sketch` numbers of distinct keys.
"""
