"""Draw conclusions from many comparisons. Pure.

`clustering` groups like differences into findings, which `tokens` reduces to what causes are solved from; `cause_solver` solves causes (`token_bits` are
its sets of tokens, `lost_findings` tells a loss from a fault) and `causes` names them; `cases` is the file format of a finding's examples and `redaction` removes secrets from
them; `calibration` proposes rules from one side compared with itself; `rule_trial` compares cases under two sets of rules;
`verification` judges new runs of cases.
"""
