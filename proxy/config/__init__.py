"""config.yaml: a module of types for each section, and the one loader that every command uses.

`loader` reads a file: `document` (YAML text to plain data, variables filled in), `conversion` (plain data to `settings.Settings`),
`checks` (what types cannot express). Each field's docstring is its meaning in docs/configuration.md.
"""
