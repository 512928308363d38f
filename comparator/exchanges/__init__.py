"""Define the values that every other part speaks of: exchanges, row changes, differences, skip causes. Pure.

`model` has the exchange and what each side did; `row_changes` has committed transactions, `table_schema` the schemas of their tables;
`comparison` has the verdict on a pair of them; `difference` has differences and rule hits, with the values (`json_values`) and places (`json_place`) they consist of; `skip` has the causes
for not mirroring; `number_ranges` has sets of exchanges by number; `release` names the releases of both sides; `redacted_text` has what replaces
a secret; `secret_names` recognises secrets by their names, `secret_text` in text, `visible_text` shows what cannot be seen.
"""
