"""All of config.yaml as one type; each section is in the module of its name. Pure.

`capture`, `compare` and `store` belong to the comparator, and so do their types. `proxy.config.loader` reads the file.
"""

from msgspec import Struct

from comparator.capture.settings import CaptureSettings
from comparator.settings import CompareSettings, StoreSettings
from proxy.config.backends import BackendsSettings
from proxy.config.databases import DatabasesSettings
from proxy.config.journal import JournalSettings
from proxy.config.limits import LimitSettings
from proxy.config.listen import AdminSettings, ListenSettings
from proxy.config.mirroring import MirroringSettings
from proxy.config.replay import ReplaySettings
from proxy.config.rollout import RolloutSettings
from proxy.config.routes import RouteSettings
from proxy.config.runner import RunnerSettings
from proxy.config.serve import ServeSettings
from proxy.config.ui import UiSettings


class Settings(Struct, frozen=True, forbid_unknown_fields=True):
    """The sections of config.yaml, all of them optional."""

    listen: ListenSettings = ListenSettings()
    admin: AdminSettings = AdminSettings()
    backends: BackendsSettings = BackendsSettings()
    databases: DatabasesSettings = DatabasesSettings()
    routes: tuple[RouteSettings, ...] = ()
    """Routes, in the order in which they are tried. Requests that match none are served and not journaled."""
    serve: ServeSettings = ServeSettings()
    limits: LimitSettings = LimitSettings()
    journal: JournalSettings = JournalSettings()
    mirroring: MirroringSettings = MirroringSettings()
    capture: CaptureSettings = CaptureSettings()
    compare: CompareSettings = CompareSettings()
    store: StoreSettings = StoreSettings()
    runner: RunnerSettings = RunnerSettings()
    rollout: RolloutSettings = RolloutSettings()
    replay: ReplaySettings = ReplaySettings()
    ui: UiSettings = UiSettings()
