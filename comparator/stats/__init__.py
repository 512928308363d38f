"""Statistics of verdicts. Pure.

`confidence` has confidence sequences for rates, `betting` tests of paired differences and of centers, `quantile_sketch` and
`duration_buckets` distributions, `distinct_sketch` numbers of distinct keys.
"""
