"""Every command of `shadow`, one module a command. `main` dispatches; nothing imports this package."""
