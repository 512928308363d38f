"""Compile and apply the rules that allow differences. Pure.

`json_paths` parses the paths of rules and finds all rules of a place at once; `actions` decides whether two values are allowed to differ;
`run_times` decides how far apart the clocks may be that both sides read while they worked on a request; `compile` compiles the rules of
`compare:`; `known_differences` recognises differences that are declared as known; `conditions` evaluates their conditions.
"""
