"""Compare the rows that both sides committed for one request. Pure.

`net_changes` folds a request's row changes into one net change per row, `row_diff` compares two images of a row column by column,
and `compare` pairs the rows of both sides and lists the differences.
"""
