"""Find the fields in which two settings differ. Pure."""

from collections.abc import Iterator

from msgspec import Struct


def changed_paths(before: object, after: object, path: str = "") -> Iterator[str]:
    """Yield the paths at which two settings differ: `listen.port`."""
    if isinstance(before, Struct) and type(before) is type(after):
        for name in before.__struct_fields__:
            yield from changed_paths(getattr(before, name), getattr(after, name), f"{path}.{name}" if path else name)
    elif before != after:
        yield path
