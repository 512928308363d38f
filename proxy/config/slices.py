"""The settings of one slice: those of the installation, with the slice's own shadow database, shadow instances, slot and port. Pure."""

from msgspec.structs import replace

from proxy.config.backends import SideInstances
from proxy.config.runner import SliceSettings
from proxy.config.settings import Settings
from proxy.errors import SettingsError


def slice_settings(settings: Settings, name: str) -> Settings:
    """Return the settings of one slice.

    Args:
        settings: of config.yaml.
        name: of the slice; "" where there are none, or where `runner.slice` says which.

    Raises:
        SettingsError: no slice has this name, or `name` is empty and slices are configured.
    """
    runner = settings.runner
    name = name or runner.slice
    names = ", ".join(one.name for one in runner.slices)
    if not runner.slices:
        if name:
            raise SettingsError(f"no slice {name!r}: runner.slices is empty")
        return settings
    if not name:
        raise SettingsError(f"choose the slice by --slice: one of {names} (runner.slices)")
    own = next((one for one in runner.slices if one.name == name), None)
    if own is None:
        raise SettingsError(f"no slice {name!r}: runner.slices has {names}")
    backends, capture = settings.backends, settings.capture
    return replace(
        settings,
        runner=replace(runner, slice=name, host=own.host, port=own.port),
        databases=replace(settings.databases, shadow=own.shadow),
        backends=replace(
            backends,
            candidate=_instances(backends.candidate, own.candidate),
            legacy=_instances(backends.legacy, own.legacy),
        ),
        # (each slice reads live's log by a slot of its own)
        capture=replace(capture, slot=replace(capture.slot, name=f"{capture.slot.name}_{name}")),
    )


def _instances(side: SideInstances, shadow_url: str) -> SideInstances:
    return replace(side, shadow=replace(side.shadow, url=shadow_url))


def mirrors(settings: Settings) -> bool:
    """Return whether some side has an instance on a shadow database, of the installation or of a slice."""
    slices: tuple[SliceSettings, ...] = settings.runner.slices
    own = any(one.candidate or one.legacy for one in slices)
    return own or bool(settings.backends.candidate.shadow.url or settings.backends.legacy.shadow.url)
