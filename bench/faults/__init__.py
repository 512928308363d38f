"""Effect on clients of faults around the proxy: `make bench-faults`.

`mirror` is a mirrored side with selectable misbehaviour, `installation` a proxy and a runner whose disk and runner can be made to fail,
and `command` measures and prints.
"""
