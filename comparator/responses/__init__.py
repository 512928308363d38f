"""Compare two HTTP responses: status, headers and body. Pure.

`compare` is the entry. `bodies` decodes a body and chooses how to compare it; `exact_json` parses JSON without losing anything;
`json_diff` walks two JSON documents under rules; `exchange_evidence` collects what the conditions of known differences look at.
"""
