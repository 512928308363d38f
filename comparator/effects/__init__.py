"""Compare the rows that both sides committed for one request. Pure.

`row_fold` folds the changes of a row into its net change, `net_changes` does so for all rows of a request, and `natural_keys` finds what
identifies them in both databases. `row_diff` compares two images of a row column by column, by the types of the columns
(`value_equality`), and `compare` pairs the rows of both sides and lists the differences; `rows_by_key` groups them for people. `catalog_check` holds the descriptions in
`compare.tables` against the catalogue; where there is none, keys and references are those of the catalogue.
"""
