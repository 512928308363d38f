"""New settings without a restart: on SIGHUP, and when the configuration file has changed.

A file that makes no sense changes nothing: it is refused, logged and counted, and the old settings stay in force. What a process binds
when it begins (listeners, the journal, databases, the rollout) stays too, and is named, so that nobody takes it for changed.
"""

import asyncio
import logging
import ssl
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from comparator.exchanges.model import Role, Side
from proxy.config.listen import TlsSettings
from proxy.config.settings import Settings
from proxy.errors import SettingsError
from proxy.serving.state import ServingState

logger = logging.getLogger(__name__)


class ConfigSource(Protocol):
    """Where settings come from."""

    @property
    def changed(self) -> bool:
        """Whether there may be others than those read last."""
        ...

    def read(self) -> Settings:
        """Read them. Raises SettingsError."""
        ...


@dataclass(frozen=True, slots=True)
class LoadedCertificate:
    """A listener's TLS context, and the files it was loaded from: read again with the settings, because certificates expire."""

    context: ssl.SSLContext
    files: TlsSettings
    place: str


def with_bound(begun: Settings, new: Settings) -> Settings:
    """New settings with everything that the process bound when it began. Pure.

    While the rollout says who serves, the salt stays as well: another one would move clients to the other side.
    """
    replace = msgspec.structs.replace
    serve = begun.serve if begun.rollout.enabled else new.serve
    return replace(
        new,
        listen=replace(
            begun.listen, trusted_networks=new.listen.trusted_networks, override_token=new.listen.override_token
        ),
        admin=begun.admin,
        databases=begun.databases,
        journal=replace(begun.journal, body_max_bytes=new.journal.body_max_bytes),
        rollout=begun.rollout,
        serve=replace(
            new.serve,
            salt=serve.salt,
            state_file=begun.serve.state_file,
            sentinel_file=begun.serve.sentinel_file,
        ),
    )


def different(one: object, other: object, path: str = "") -> Iterator[str]:
    """The paths at which two settings differ. Pure."""
    if isinstance(one, Struct) and type(one) is type(other):
        for name in one.__struct_fields__:
            yield from different(getattr(one, name), getattr(other, name), f"{path}.{name}" if path else name)
    elif one != other:
        yield path


def check_kept(begun: Settings, new: Settings) -> None:
    """That no live backend was lost. Pure.

    A file that is read while somebody saves it may make sense as far as it goes: clients, or a rollback, would find nobody there.

    Raises:
        SettingsError: one was.
    """
    for side in Side:
        if begun.backends.of(side, Role.SERVED).url and not new.backends.of(side, Role.SERVED).url:
            raise SettingsError(
                f"backends.{side}.live.url: it had a url when the proxy was started; restart the proxy to do without"
            )


class ConfigReloader:
    """Puts new settings in force.

    Args:
        front: where they take effect.
        begun: the settings that the process began with.
        now: Unix seconds.
    """

    def __init__(self, front: ServingState, begun: Settings, now: Callable[[], float] = time.time) -> None:
        self.certified: list[LoadedCertificate] = []
        self._front = front
        self._begun = begun
        self._now = now
        self._error = ""
        self._needs_restart: tuple[str, ...] = ()
        front.metrics.config_loaded_at = now()

    def take(self, settings: Settings) -> None:
        """Put settings in force, all or none.

        Raises:
            SettingsError: they only show as wrong when used (a route's path, a certificate), or lack a backend.
        """
        check_kept(self._begun, settings)
        merged = with_bound(self._begun, settings)
        for one in self.certified:
            # Into a context of its own first: a key that does not fit would leave the one in use without any.
            tls_context(one.files, one.place)
        self._front.apply(merged)
        for one in self.certified:
            one.context.load_cert_chain(one.files.certificate, one.files.key)
        self._needs_restart = tuple(different(merged, settings))
        self._front.metrics.config_needs_restart = len(self._needs_restart)

    async def take_from(self, source: ConfigSource) -> None:
        """Read and take; what is wrong is logged and counted. Reading is for a thread: clients do not wait for YAML."""
        metrics = self._front.metrics
        try:
            self.take(await asyncio.to_thread(source.read))
        except (SettingsError, OSError) as error:
            self._error = str(error)
            metrics.config_reloads["refused"] += 1
            logger.error("reload_refused", extra={"error": str(error)})
            return
        self._error = ""
        metrics.config_reloads["taken"] += 1
        metrics.config_loaded_at = self._now()
        logger.info("reloaded", extra={"stage": self._front.plan.stage})
        if self._needs_restart:
            logger.warning("reload_needs_restart", extra={"settings": list(self._needs_restart)})

    def status(self) -> dict[str, Any]:
        """What /status shows. `error` is why the last reload was refused."""
        metrics = self._front.metrics
        return {
            "loaded_at": metrics.config_loaded_at,
            "taken": metrics.config_reloads["taken"],
            "refused": metrics.config_reloads["refused"],
            "error": self._error,
            "needs_restart": list(self._needs_restart),
        }


def tls_context(files: TlsSettings, place: str) -> ssl.SSLContext:
    """A listener's TLS.

    Raises:
        SettingsError: the files cannot be used.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    try:
        context.load_cert_chain(files.certificate, files.key)
    except OSError as error:
        raise SettingsError(f"{place}: the certificate or its key cannot be used: {error}") from error
    return context
