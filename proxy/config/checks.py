"""Checks of config.yaml that types cannot express: between fields, and between sections. Pure.

Each raises a SettingsError that names the first thing wrong, its place and the remedy.
"""

from collections import Counter
from collections.abc import Iterable
from ipaddress import ip_address, ip_network
from itertools import pairwise
from urllib.parse import urlsplit

from comparator.capture.settings import Driver
from comparator.exchanges.model import Role, Side
from proxy.config.journal import JournalDriver
from proxy.config.rollout import RolloutSettings, steps_of
from proxy.config.routes import MirrorPolicy, RecordOnly
from proxy.config.settings import Settings
from proxy.config.slices import mirrors
from proxy.errors import SettingsError

JWT_SECRET_MIN_BYTES = 32
"""RFC 7518 section 3.2: a key of HS256 is at least as long as its hash."""


def check(settings: Settings) -> None:
    """Check all sections.

    Raises:
        SettingsError: with the place and the remedy.
    """
    _check_listen(settings)
    _check_backends(settings)
    _check_routes(settings)
    _check_shared_journal(settings)
    _check_slices(settings)
    _check_record_filters(settings)
    _check_compare(settings)
    _check_rollout(settings.rollout, [route.name for route in settings.routes])


def _check_listen(settings: Settings) -> None:
    for index, network in enumerate(settings.listen.trusted_networks):
        try:
            ip_network(network)
        except ValueError as error:
            raise SettingsError(f"listen.trusted_networks[{index}]: {error}") from error
    if settings.listen.workers > 1 and not settings.listen.port:
        raise SettingsError("listen.port: several workers need a fixed port, not 0")


def check_admin_access(settings: Settings) -> None:
    """Check that a control port that others can reach needs a token. Only a proxy that starts has to: a rollback goes on without it.

    Raises:
        SettingsError: it needs none.
    """
    access = settings.rollout.access
    protected = settings.admin.token or access.jwt_secret or access.jwks_file or access.break_glass_token
    _check_reach("admin.host", settings.admin.host, protected=bool(protected))


def check_ui_access(settings: Settings) -> None:
    """Check that a web UI that others can reach needs a token to sign in with.

    Raises:
        SettingsError: it needs none.
    """
    access = settings.rollout.access
    protected = settings.admin.token or access.jwt_secret or access.jwks_file
    _check_reach("ui.host", settings.ui.host, protected=bool(protected))


def _check_reach(place: str, host: str, *, protected: bool) -> None:
    if not protected and not _is_loopback(host):
        raise SettingsError(
            f"{place}: everyone who reaches {host} could roll back and promote: set admin.token (or rollout.access), or listen "
            "on 127.0.0.1"
        )


def _is_loopback(host: str) -> bool:
    if host.lower() == "localhost":
        return True
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return False


def _check_backends(settings: Settings) -> None:
    for side in Side:
        for role in Role:
            _check_url(
                settings.backends.of(side, role).url,
                f"backends.{side}.{'live' if role is Role.SERVED else 'shadow'}.url",
            )


def _check_url(url: str, place: str) -> None:
    try:
        parts = urlsplit(url)
        usable = not url or (parts.scheme in ("http", "https") and parts.hostname and parts.port != 0)
    except ValueError as error:
        raise SettingsError(f"{place}: {error}") from error
    if not usable:
        raise SettingsError(f"{place}: `{url}` is not an http or https URL")
    if parts.query or parts.fragment:
        raise SettingsError(f"{place}: a backend's URL must not have a query or fragment")


def _check_routes(settings: Settings) -> None:
    if name := _repeated(route.name for route in settings.routes):
        raise SettingsError(f"routes: duplicate route name `{name}`")


def _check_shared_journal(settings: Settings) -> None:
    """Check the broker of a shared journal. No message shows the URL, which may have a password in it."""
    if settings.journal.driver is not JournalDriver.VALKEY:
        return
    valkey, place = settings.journal.valkey, "journal.valkey"
    try:
        parts = urlsplit(valkey.url)
        usable = parts.scheme in ("valkey", "valkeys", "redis", "rediss") and parts.hostname and parts.port != 0
    except ValueError as error:
        raise SettingsError(f"{place}.url: the port is not a number") from error
    if not usable:
        raise SettingsError(
            f"{place}.url: `driver: valkey` needs the broker, as valkey://HOST:PORT/NUMBER or valkeys://"
        )
    if parts.username or parts.password:
        raise SettingsError(
            f"{place}.url: set user and password as {place}.user and {place}.password or password_file, not in the URL"
        )
    if valkey.password and valkey.password_file:
        raise SettingsError(f"{place}: set password or password_file, not both")
    if parts.path.lstrip("/") and not parts.path.lstrip("/").isdigit():
        raise SettingsError(f"{place}.url: the database is a number, as in valkey://HOST:PORT/0")
    with_tls = parts.scheme in ("valkeys", "rediss")
    if not with_tls and (valkey.ca_file or valkey.cert_file):
        raise SettingsError(f"{place}.url: ca_file and cert_file need TLS: write valkeys://")
    if bool(valkey.cert_file) != bool(valkey.key_file):
        raise SettingsError(f"{place}: cert_file and key_file are set together or not at all")
    if not settings.databases.store:
        raise SettingsError(
            "databases.store: `journal.driver: valkey` needs it, because the runner's position is kept there"
        )


def _check_slices(settings: Settings) -> None:
    """Check `runner.slices`: each has its own shadow database and port, and the journal and the capture are read by several."""
    slices, place = settings.runner.slices, "runner.slices"
    if not slices:
        return
    if name := _repeated(one.name for one in slices):
        raise SettingsError(f"{place}: duplicate slice name `{name}`")
    for index, one in enumerate(slices):
        for side in Side:
            _check_url(getattr(one, side.value), f"{place}[{index}].{side}")
    chosen = settings.runner.slice
    shadows = [one.shadow for one in slices]
    others = [settings.databases.live, settings.databases.store] + ([] if chosen else [settings.databases.shadow])
    if _repeated(shadows) or not all(shadows) or set(shadows) & set(filter(None, others)):
        raise SettingsError(f"{place}: each slice needs a shadow database of its own")
    if port := _repeated(f"{one.host}:{one.port}" for one in slices):
        raise SettingsError(f"{place}: two slices have the admin port {port}")
    if settings.journal.driver is not JournalDriver.VALKEY:
        raise SettingsError(f"{place}: several runners need `journal.driver: valkey`")
    if settings.capture.driver not in (Driver.STREAM, Driver.OFF):
        raise SettingsError(f"{place}: only the capture driver `stream` (or `off`) serves several runners")


def _check_record_filters(settings: Settings) -> None:
    """Check filters on mismatches: they need mirroring, which alone finds out what differs."""
    mirrored = settings.journal.enabled and mirrors(settings)
    for index, route in enumerate(settings.routes):
        if route.record_if is None or route.record_if.only is RecordOnly.ALL:
            continue
        place = f"routes[{index}] ({route.name}).record_if.only"
        if route.mirror is MirrorPolicy.SKIP:
            raise SettingsError(
                f"{place}: `mismatches` needs a route that is mirrored, and this one says `mirror: skip`"
            )
        if not mirrored:
            raise SettingsError(
                f"{place}: `mismatches` needs mirroring: give a side a shadow url and enable the journal, or remove `only`"
            )


def _check_compare(settings: Settings) -> None:
    names = [route.name for route in settings.routes]
    for name in settings.compare.routes:
        if name not in names:
            raise SettingsError(f"compare.routes.{name}: {_no_route(name, names)}, so these rules would never apply")
    # Without a key of the routes' kind, no row could be attributed to a request, and nothing would say so.
    kinds = {key.kind for table in settings.compare.tables.values() for key in table.keys}
    kind = settings.compare.route_kind
    if kinds and kind not in kinds:
        raise SettingsError(
            f"compare.tables: no table has a key of kind `{kind}` (compare.route_kind), so no row could be attributed to a request; "
            f"kinds of keys: {', '.join(sorted(kinds))}"
        )


def _check_rollout(settings: RolloutSettings, routes: list[str]) -> None:
    for group in ("all", *(one.name for one in settings.groups)):
        percents = [step.percent for step in steps_of(settings, group)]
        if len(percents) < 2 or any(a >= b for a, b in pairwise(percents)):
            raise SettingsError(f"rollout.steps: group `{group}` needs at least two steps, in growing order")
    names = [one.name for one in settings.groups]
    if "all" in names:
        raise SettingsError("rollout.groups: the name `all` is taken by the routes that are in no group")
    if name := _repeated(names):
        raise SettingsError(f"rollout.groups: duplicate group name `{name}`")
    grouped = [route for one in settings.groups for route in one.routes]
    if name := _repeated(grouped):
        raise SettingsError(f"rollout.groups: route `{name}` is in two groups")
    if unknown := sorted(set(grouped) - set(routes)):
        raise SettingsError(f"rollout.groups: {_no_route(unknown[0], routes)}")
    if 0 < len(settings.access.jwt_secret.encode()) < JWT_SECRET_MIN_BYTES:
        raise SettingsError(f"rollout.access.jwt_secret: an HS256 secret has at least {JWT_SECRET_MIN_BYTES} bytes")


def _repeated(names: Iterable[str]) -> str:
    """Return the first name that occurs twice, "" when all differ."""
    return next((name for name, count in Counter(names).items() if count > 1), "")


def _no_route(name: str, routes: list[str]) -> str:
    from difflib import get_close_matches  # noqa: PLC0415 (slow to import, and only for an error)

    near = get_close_matches(name, routes, n=1)
    return f"there is no route `{name}`" + (f" (did you mean `{near[0]}`?)" if near else "")
