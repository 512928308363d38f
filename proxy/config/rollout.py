"""The `rollout:` section of config.yaml: steps, what each must show, when to roll back, who may, and who is told.

Pure. Rates and shares are 0 to 1, percentages say so in their name, times carry their unit.
"""

from itertools import pairwise
from typing import Annotated

from msgspec import Meta, Struct

Percent = Annotated[float, Meta(ge=0, le=100)]
Share = Annotated[float, Meta(ge=0, le=1)]
Positive = Annotated[float, Meta(gt=0)]
NotNegative = Annotated[float, Meta(ge=0)]
Count = Annotated[int, Meta(ge=0)]

DEFAULT_STEPS = (0.0, 1.0, 5.0, 10.0, 25.0, 50.0, 75.0, 100.0)


class StepSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One step; what is not said here holds as in `gates`."""

    percent: Percent
    manual: bool | None = None
    """Whether leaving this step needs a person even with open gates; None: unless `auto_promote`."""
    time_min_s: NotNegative | None = None
    comparisons_min: Count | None = None


class GroupSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Routes that are rolled out together, apart from the others. Routes in no group belong to `all`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9_-]{1,40}$")]
    routes: tuple[str, ...]
    steps: tuple[StepSettings | float, ...] = ()
    """Empty: those of `rollout.steps`."""


class GateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a step must show before the next."""

    time_min_s: NotNegative = 1800.0
    comparisons_min: Count = 10_000
    comparisons_max: Annotated[int, Meta(ge=1)] = 500_000
    """Only the newest so many of a step are looked at, so that a long step costs no more to judge than a short one."""
    mismatch_rate_max: Share = 0.001
    """Compared with the upper bound of the always-valid interval of the rate of mismatches."""
    effect_mismatches_max: Count = 0
    """Comparisons whose committed rows differ."""
    points_mismatches_max: Count = 0
    """Comparisons in which rows of `points_tables` differ."""
    points_tables: tuple[str, ...] = ("registry_humanpoints", "registry_humanpointscommunityqualifiedusers")
    error_rate_increase_max: Share = 0.001
    """By how much more often the candidate may answer 5xx or nothing than the legacy, on the same requests."""
    latency_quantile: Annotated[float, Meta(gt=0, lt=1)] = 0.95
    latency_ratio_max: Positive = 1.0
    """The candidate's quantile over the legacy's. Surely above it is bad."""
    latency_tolerance: NotNegative = 0.05
    """Surely below `latency_ratio_max` plus this is good."""
    latency_across_roles_max: Positive = 2.0
    """The same where one side only served and the other only mirrored, at 0 % and at 100 %."""
    latency_pairs_min: Count = 1_000
    rss_max_bytes: Count = 512 * 1024**2
    """Resident memory of any candidate process; 0 turns the gate off."""
    route_comparisons_min: Count = 20
    """Comparisons that each route of the group must have; routes that are not mirrored do not count."""
    compared_share_min: Share = 0.8
    """Of what was read from the journal at this step, the share that was compared."""
    accounting_slack: Count = 100
    """By how many exchanges the counts may fail to add up, as they are read one after another."""
    alpha: Annotated[float, Meta(gt=0, lt=1)] = 0.01
    """The chance that any interval of a step is ever wrong, shared among the gates."""


class AutoRollbackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """When bad evidence rolls back by itself."""

    enabled: bool = True
    consecutive: Annotated[int, Meta(ge=1)] = 2
    """Evaluations in a row that must find the same gate bad."""
    hits_min: Annotated[int, Meta(ge=1)] = 3
    """Comparisons with differing rows or points before they roll back; fewer close the gate only."""


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics pages that the evidence is read from; own pages need not be named."""

    proxies: tuple[str, ...] = ()
    runners: tuple[str, ...] = ()
    candidates: tuple[str, ...] = ()
    legacy_health: str = ""
    timeout_s: Positive = 3.0


class AccessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who may change the rollout. With nothing set, whoever reaches the admin port, which is loopback by default."""

    jwt_secret: str = ""
    """HS256; at least 32 bytes."""
    jwks_file: str = ""
    """Public keys of RS256, PS256, ES256 or EdDSA tokens; read again when it changes."""
    issuer: str = ""
    audience: str = ""
    role_claim: str = "role"
    actor_claim: str = "sub"
    break_glass_token: str = ""
    """Good for rollback and nothing else; needs no service to be up."""
    protect_reads: bool = False
    """Whether reading needs a token with the role `viewer` too; /metrics, /healthz and /readyz never do."""
    failures_max: Annotated[int, Meta(ge=1)] = 10
    """Wrong tokens a minute from one address before it is refused without a look; a right break-glass token still works."""


class NotificationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Who is told about rollbacks, failed gates and new findings."""

    slack_urls: tuple[str, ...] = ()
    """Webhooks that take Slack's `{"text": ...}`."""
    pagerduty_key: str = ""
    """Routing key of an Events v2 integration."""
    pagerduty_url: str = "https://events.pagerduty.com/v2/enqueue"
    timeout_s: Positive = 5.0
    attempts_max: Annotated[int, Meta(ge=1)] = 8
    backoff_s: Positive = 1.0
    queue_max: Annotated[int, Meta(ge=1)] = 200


class AlertmanagerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """What a firing alert of Alertmanager does: the value of the label `label` is `pause` or `rollback`."""

    label: str = "shadow_action"
    group_label: str = "shadow_group"


class PeerAddress(Struct, frozen=True, forbid_unknown_fields=True):
    """Another proxy's admin port."""

    host: str
    port: Annotated[int, Meta(ge=1, le=65535)]


class RolloutSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The section `rollout:`."""

    enabled: bool = False
    """Whether the steps say who serves; else `serve` does, and only rollback and resume are possible."""
    steps: tuple[StepSettings | float, ...] = DEFAULT_STEPS
    """Percentages served by the candidate, growing, from the first (usually 0) to the last (usually 100)."""
    groups: tuple[GroupSettings, ...] = ()
    auto_promote: bool = False
    """Whether a step with open gates is left without a person; `manual` of a step wins."""
    gates: GateSettings = GateSettings()
    auto_rollback: AutoRollbackSettings = AutoRollbackSettings()
    evaluate_s: Positive = 15.0
    poll_s: Positive = 1.0
    """How often the stored state is read where no notification came."""
    state_file: str = ""
    """The last known state, shared by the processes of one machine. Empty: rollout.json beside `serve.state_file`."""
    audit_file: str = ""
    """The audit log where there is no `databases.store`. Empty: rollout-audit.ndjson beside `serve.state_file`."""
    peers: tuple[PeerAddress, ...] = ()
    """All other proxies: a rollback is sent to each, and states are exchanged when the store is down."""
    sources: SourceSettings = SourceSettings()
    access: AccessSettings = AccessSettings()
    outgoing: NotificationSettings = NotificationSettings()
    alerts: AlertmanagerSettings = AlertmanagerSettings()


def steps_of(settings: RolloutSettings, group: str) -> tuple[StepSettings, ...]:
    """The steps of a group; `all` has those of the section."""
    own = next((one.steps for one in settings.groups if one.name == group), ())
    return tuple(
        step if isinstance(step, StepSettings) else StepSettings(float(step)) for step in own or settings.steps
    )


def problem_of(settings: RolloutSettings, routes: tuple[str, ...]) -> str:
    """What the types cannot say: the first thing that is wrong, with its path; "" when nothing is."""
    for group in ("all", *(one.name for one in settings.groups)):
        percents = [step.percent for step in steps_of(settings, group)]
        if len(percents) < 2 or any(a >= b for a, b in pairwise(percents)):
            return f"the steps of {group!r} must be at least two and grow - at `$.rollout.steps`"
    names = [one.name for one in settings.groups]
    if len(set(names)) != len(names) or "all" in names:
        return "group names must differ, and `all` is taken - at `$.rollout.groups`"
    grouped = [route for one in settings.groups for route in one.routes]
    if len(set(grouped)) != len(grouped):
        return "a route is in two groups - at `$.rollout.groups`"
    unknown = sorted(set(grouped) - set(routes))
    if unknown:
        return f"there is no route {unknown[0]!r} - at `$.rollout.groups`"
    if settings.access.jwt_secret and len(settings.access.jwt_secret.encode()) < 32:
        return "an HS256 secret has at least 32 bytes - at `$.rollout.access.jwt_secret`"
    return ""
