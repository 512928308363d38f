"""config.yaml: a module of types for each section, and the one loader that every command uses.

    text of config.yaml ──document──> plain data ──conversion──> settings.Settings ──checks──> valid settings
                                                                      │
                     listen, backends, databases, routes, serve, limits, journal, mirroring, runner, rollout, replay

`loader` reads a file through these steps, again when it changes. `document` fills in variables and refuses duplicate keys and unbounded
aliases, `conversion` names the place of an error and the nearest known field, `checks` is what types cannot express, `slices` the settings of one of several runners. `constraints` has
ranges that sections share. Each field's docstring is its meaning in docs/configuration.md. The sections `capture`, `compare` and `store` are
the comparator's.
"""
