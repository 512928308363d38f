"""The section `rollout:` of config.yaml: steps, gates, automatic rollback, access and notifications. Pure."""

from typing import Annotated

from msgspec import Meta, Struct

from proxy.config.constraints import (
    Count,
    NonNegative,
    Percent,
    Positive,
    PositiveCount,
    Probability,
    Share,
)

DAY_S = 86_400.0


class StepSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """One step; a plain number is a step with that `percent`. Fields that are not given are those of `gates`."""

    percent: Percent
    """Share of clients that the candidate serves."""
    manual: bool | None = None
    """Leave this step only by `shadow promote`, even with open gates; without a value, unless `auto_promote`."""
    time_min_s: NonNegative | None = None
    """Overrides `gates.time_min_s`."""
    comparisons_min: Count | None = None
    """Overrides `gates.comparisons_min`."""


DEFAULT_STEPS: tuple[StepSettings | float, ...] = (
    0.0,
    1.0,
    5.0,
    10.0,
    25.0,
    50.0,
    StepSettings(75.0, time_min_s=DAY_S),
    100.0,
)
"""The last step before 100 % lasts a day at least, so that a fault of the night is seen before the legacy is gone."""


class GroupSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Routes that are rolled out together, apart from the others. Routes in no group belong to the group `all`."""

    name: Annotated[str, Meta(pattern="^[a-z0-9_-]{1,40}$")]
    """Name of the group; `all` is taken."""
    routes: tuple[str, ...]
    """Names of its routes; a route is in one group at most."""
    steps: tuple[StepSettings | float, ...] = ()
    """Steps of the group; empty: those of `rollout.steps`."""


class GateSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Conditions for leaving a step."""

    time_min_s: NonNegative = 1800.0
    """Time at the step."""
    comparisons_min: Count = 10_000
    """Comparisons at the step."""
    mismatch_rate_max: Share = 0.001
    """Limit of the rate of mismatches, without those of `low_confidence` tables and of requests that one side alone failed."""
    transient_rate_max: Share = 0.002
    """Limit of the share of the candidate's mirrored runs that differ and do not reproduce, beyond what the legacy's certainly do."""
    effect_rate_max: Share = 0.00001
    """Limit of the rate of comparisons whose committed rows differ."""
    points_rate_max: Share = 0.00001
    """Limit of the rate of comparisons that differ in rows of `points_tables`."""
    points_tables: tuple[str, ...] = ("registry_humanpoints", "registry_humanpointscommunityqualifiedusers")
    """Tables with a gate of their own."""
    error_rate_increase_max: Share = 0.001
    """Limit of the difference of the error rates, candidate minus legacy, on the same requests. An error is a 5xx or no response."""
    latency_quantile: Probability = 0.95
    """Quantile of the duration that is compared."""
    latency_ratio_max: Positive = 1.05
    """Limit of the candidate's quantile over the legacy's, on the same requests."""
    latency_across_roles_max: Positive = 2.0
    """The limit where one side only served and the other only mirrored: at 0 % and at 100 %. It closes the gate and never rolls back."""
    latency_spells_share_max: Share = 0.05
    """Limit of the share of the time in which the candidate alone is slow (1.3 times its limit), less that of the legacy alone."""
    latency_durations_min: PositiveCount = 40
    """Durations of each side and role in one block of minutes."""
    rss_max_bytes: Count = 512 * 1024**2
    """Resident memory of each candidate process in `sources.candidates`; without any, or with 0, the gate is off."""
    route_comparisons_min: Count = 20
    """Comparisons of each mirrored route of the group that is called or not `quiet`."""
    compared_share_min: Share = 0.8
    """Share of the exchanges of this step that was compared, on each route and overall, drops of the proxies included. Exchanges left
    out by policies and rate limits do not count; overlapped ones have a gate of their own."""
    overlapped_share_max: Share = 0.02
    """Share of the exchanges, on each route and overall, that cannot be compared because another one of their key overlapped."""
    accounting_slack: Count = 100
    """Exchanges by which the counts may fail to add up, as they are read one after another."""
    alpha: Probability = 0.01
    """Probability that a candidate within all limits is ever rolled back, shared among all steps, groups, gates, routes and windows
    of time; and that a gate opens for a candidate beyond its limit."""


class AutoRollbackSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Automatic rollback on bad evidence, also during a pause."""

    enabled: bool = True
    """Roll back automatically."""
    consecutive_evaluations: PositiveCount = 2
    """Evaluations in a row, each on more evidence, in which the same gate is bad."""
    keys_min: PositiveCount = 3
    """Different ordering keys (clients) that a bad rate needs."""
    without_rows: bool = False
    """Roll back on differing responses although no rows are captured (`capture.driver: off`): the databases of both sides may have
    drifted apart, so that a good candidate differs."""


class SourceSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Metrics pages that evidence is read from."""

    proxies: tuple[str, ...] = ()
    """URLs of the proxies' pages; empty: this proxy's own and its peers'."""
    runners: tuple[str, ...] = ()
    """URLs of the runners' pages; empty: that of `runner.host` and `runner.port`."""
    candidates: tuple[str, ...] = ()
    """URLs of the candidate's pages, e.g. `http://10.0.0.2:8001/metrics`; without one the memory gate is off."""
    legacy_health: str = ""
    """URL that says whether the legacy is healthy: 2xx and 3xx. Empty: its live backend with its `health_check.path`, else
    `/health/`."""
    timeout_s: Positive = 3.0
    """Time for a page."""


class AccessSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Access to the rollout. Without any of it, and without `admin.token`, everyone who reaches the admin port may change it."""

    jwt_secret: str = ""
    """Secret of HS256 tokens, at least 32 bytes."""
    jwks_file: str = ""
    """File with the public keys (JWKS) of RS256, PS256, ES256 or EdDSA tokens; read again when it changes."""
    issuer: str = ""
    """Issuer (`iss`) that tokens must name; empty: any."""
    audience: str = ""
    """Audience (`aud`) that tokens must name; empty: any."""
    role_claim: str = "role"
    """Claim that holds the role: `viewer` or `operator`."""
    actor_claim: str = "sub"
    """Claim that names the person in the audit log."""
    break_glass_token: str = ""
    """Token that allows a rollback and nothing else, without another service being up."""
    protect_reads: bool = False
    """Require a token with the role `viewer` for reading too, except /metrics, /healthz and /readyz."""
    failures_max: PositiveCount = 10
    """Wrong tokens per minute from one address; beyond it tokens from there are refused unread, but for a right break-glass token."""


class NotificationSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Notifications of rollbacks, failed gates and new causes of mismatches."""

    slack_urls: tuple[str, ...] = ()
    """Webhooks that take Slack's `{"text": ...}`."""
    pagerduty_key: str = ""
    """Routing key of a PagerDuty Events v2 integration."""
    pagerduty_url: str = "https://events.pagerduty.com/v2/enqueue"
    """URL of the Events v2 API."""
    timeout_s: Positive = 5.0
    """Time for one attempt."""
    attempts_max: PositiveCount = 8
    """Attempts per message; then it is dropped and logged."""
    backoff_s: Positive = 1.0
    """Pause after the first failed attempt; doubled after each further one."""
    queue_max: PositiveCount = 200
    """Messages that may wait."""


class AlertmanagerSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """Labels by which a firing alert of Alertmanager (POST /alertmanager) pauses or rolls back."""

    label: str = "shadow_action"
    """Label whose value is the action: `pause` or `rollback`."""
    group_label: str = "shadow_group"
    """Label whose value is the group; an alert without it acts on all groups."""


class PeerAddress(Struct, frozen=True, forbid_unknown_fields=True):
    """Another proxy's admin port."""

    host: str
    """Its address."""
    port: Annotated[int, Meta(ge=1, le=65535)]
    """Its admin port."""


class RolloutSettings(Struct, frozen=True, forbid_unknown_fields=True):
    """The steps by which the candidate takes over, their gates, and the way back."""

    enabled: bool = False
    """Let the steps say who serves; otherwise `serve` does, and only rollback and resume are possible."""
    steps: tuple[StepSettings | float, ...] = DEFAULT_STEPS
    """Shares in percent that the candidate serves, growing, from the first (usually 0) to the last (usually 100)."""
    groups: tuple[GroupSettings, ...] = ()
    """Routes that step apart from the others."""
    auto_promote: bool = False
    """Leave a step without an operator once its gates are open; `manual` of a step wins."""
    gates: GateSettings = GateSettings()
    auto_rollback: AutoRollbackSettings = AutoRollbackSettings()
    evaluate_s: Positive = 15.0
    """Time between two evaluations of the gates."""
    poll_s: Positive = 1.0
    """Time between two reads of the stored state where no notification came."""
    state_file: str = ""
    """File of the last known state, shared by the processes of a machine. Empty: rollout.json beside `serve.state_file`."""
    audit_file: str = ""
    """File of the audit log where `databases.store` is empty. Empty: rollout-audit.ndjson beside `serve.state_file`."""
    peers: tuple[PeerAddress, ...] = ()
    """Admin ports of all other proxies: a rollback is sent to each, and states are exchanged while the store is down."""
    sources: SourceSettings = SourceSettings()
    access: AccessSettings = AccessSettings()
    notifications: NotificationSettings = NotificationSettings()
    alertmanager: AlertmanagerSettings = AlertmanagerSettings()


def steps_of(settings: RolloutSettings, group: str) -> tuple[StepSettings, ...]:
    """Return the steps of a group; those of `all` are the section's."""
    own = next((one.steps for one in settings.groups if one.name == group), ())
    return tuple(
        step if isinstance(step, StepSettings) else StepSettings(float(step)) for step in own or settings.steps
    )
