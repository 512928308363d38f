"""Compare two HTTP responses: status, headers and body. Pure.

`compare` is the entry. `header_values` compares the values of a header by its grammar. `bodies` decodes a body and chooses how to compare
it; `exact_json` parses JSON without losing anything; `json_diff` walks two JSON documents under rules; `exchange_evidence` collects what the
conditions of known differences look at.
"""
