"""The values that every other package speaks of: exchanges, row changes and skip causes. Pure."""
