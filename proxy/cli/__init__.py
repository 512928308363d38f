"""The commands of `shadow`, one module each; `main` dispatches, and no other package imports this one."""
