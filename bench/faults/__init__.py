"""What clients notice of faults around the proxy: `make bench-faults`. `mirror` is a mirrored side that misbehaves on order,
`installation` a proxy and a runner whose disk, runner and admin port fail on order, `command` measures and prints."""
