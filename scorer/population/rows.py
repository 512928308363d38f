"""The rows of a population: accounts, keys, communities with their weights, and the stamps and links of each person.

Pure. A row is a tuple in the order of its table's COLUMNS; parent tables come first.

The migrations of the real system leave rows in account_customplatform, account_customcredentialruleset and
registry_humanpointsconfig. A population goes beside them: its rows of the first two have ids of their own, those of the last are
only inserted where the action has none.
"""

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from scorer.population.people import Person, PersonCase, address_of

_THEN = datetime(2024, 1, 1, tzinfo=UTC)
_PBKDF2_ITERATIONS = 20_000
# Greater than any id that a real system gives to its custom platforms and rulesets.
_CUSTOM_ID = 1_000_001
_INSIDERS_LIST, _SEASONED_LIST, _CHOSEN_LIST = 1, 2, 3
_WEIGHTS = {
    "Google": "1.0",
    "Twitter": "1.5",
    "Github": "2.0",
    "Discord": "0.5",
    "Linkedin": "1.5",
    "Ens": "2.25",
    "ETHScore#50": "10.0",
    "NFTScore#75": "0.75",
    "Steam": "0.3",
    "BeginnerCommunityStaker": "1.513",
    "SelfStakingGold": "2.7",
}

Row = tuple[Any, ...]
Rows = Mapping[str, list[Row]]


@dataclass(frozen=True, slots=True)
class SyntheticKey:
    """An API key: its text, the kind of hash stored for it, and its revocation."""

    text: str
    sha256: bool = True
    revoked: bool = False

    @property
    def prefix(self) -> str:
        """The part before the first dot, by which the row is found."""
        return self.text.partition(".")[0]


@dataclass(frozen=True, slots=True)
class SyntheticCommunity:
    """A community; clients put its `scorer_id` into the path."""

    id: int
    weights: Mapping[str, object]
    threshold: Decimal
    binary: bool = True
    human_points: bool = False
    external_scorer_id: str | None = None
    account_id: int = 1

    @property
    def scorer_id(self) -> str:
        """The id in the path: the external one if there is one."""
        return self.external_scorer_id or str(self.id)


KEY = SyntheticKey("popKey01.5up1l3mEnTaRy5eCrEtOfTh3Fir5t")
OLD_KEY = SyntheticKey("popKey02.5up1l3mEnTaRy5eCrEtOfTh3S3c0nd", sha256=False)
REVOKED_KEY = SyntheticKey("popKey03.5up1l3mEnTaRy5eCrEtOfTh3Th1rd", revoked=True)

PLAIN = SyntheticCommunity(1, _WEIGHTS, Decimal("2.50000"))
POINTS = SyntheticCommunity(
    2, {name: float(weight) for name, weight in _WEIGHTS.items()}, Decimal("3.00000"), human_points=True
)
CUSTOMIZED = SyntheticCommunity(3, _WEIGHTS, Decimal("5.00000"), binary=False)
EXTERNAL = SyntheticCommunity(4, _WEIGHTS, Decimal("2.50000"), external_scorer_id="700001")
FOREIGN = SyntheticCommunity(5, _WEIGHTS, Decimal("2.50000"), account_id=2)
COMMUNITIES = (PLAIN, POINTS, CUSTOMIZED, EXTERNAL, FOREIGN)

COLUMNS: Mapping[str, tuple[str, ...]] = {
    "auth_user": (
        *("id", "password", "last_login", "is_superuser", "username", "first_name", "last_name", "email", "is_staff"),
        *("is_active", "date_joined"),
    ),
    "account_account": ("id", "address", "user_id"),
    "account_accountapikey": (
        *(
            "id",
            "prefix",
            "hashed_key",
            "created",
            "name",
            "revoked",
            "expiry_date",
            "account_id",
            "rate_limit",
            "create_scorers",
        ),
        *(
            "read_scores",
            "submit_passports",
            "analysis_rate_limit",
            "historical_endpoint",
            "embed_rate_limit",
            "hashed_key_sha256",
        ),
    ),
    "scorer_weighted_scorer": ("id", "type", "exclude_from_weight_updates"),
    "scorer_weighted_binaryweightedscorer": ("scorer_ptr_id", "weights", "threshold"),
    "scorer_weighted_weightedscorer": ("scorer_ptr_id", "weights", "threshold"),
    "account_community": (
        *("id", "name", "description", "account_id", "scorer_id", "created_at", "rule", "use_case", "deleted_at"),
        *("external_scorer_id", "human_points_program"),
    ),
    "account_addresslist": ("id", "name"),
    "account_addresslistmember": ("id", "address", "list_id"),
    "account_customization": (
        *("id", "path", "scorer_id", "use_custom_dashboard_panel", "body_display_info_tooltip", "button_action_type"),
        *("show_explanation_panel", "partner_name", "nav_order", "show_in_top_nav"),
    ),
    "account_allowlist": ("id", "weight", "address_list_id", "customization_id"),
    "account_customplatform": ("id", "platform_type", "name", "display_name", "is_evm"),
    "account_customcredentialruleset": ("id", "credential_type", "definition", "name", "provider_id"),
    "account_customcredential": ("id", "weight", "display_name", "customization_id", "platform_id", "ruleset_id"),
    "registry_humanpointsconfig": ("id", "action", "points", "active"),
    "ceramic_cache_ceramiccache": (
        *(
            "id",
            "address",
            "provider",
            "stamp",
            "created_at",
            "updated_at",
            "type",
            "deleted_at",
            "compose_db_save_status",
        ),
        *("compose_db_stream_id", "expiration_date", "issuance_date", "proof_value", "source_app", "source_scorer_id"),
    ),
    "ceramic_cache_revocation": ("id", "proof_value", "ceramic_cache_id"),
    "registry_hashscorerlink": ("id", "hash", "address", "expires_at", "community_id"),
}


# Tables whose rows may exist already, with the column that tells: such a row is left out, and the others get the next free ids.
UNLESS_PRESENT: Mapping[str, str] = {"registry_humanpointsconfig": "action"}


def rows(population: Iterable[Person]) -> Rows:
    """Build all rows of a population, by table."""
    tables: dict[str, list[Row]] = {table: [] for table in COLUMNS}
    _add_accounts(tables)
    for community in COMMUNITIES:
        _add_community(tables, community)
    _add_customization(tables)
    for person in population:
        _add_person(tables, person)
    return tables


def greatest_ids(tables: Rows) -> dict[str, int]:
    """Return the greatest id of each table with an integer id."""
    ids = {
        table: [row[0] for row in records if COLUMNS[table][0] == "id" and isinstance(row[0], int)]
        for table, records in tables.items()
    }
    return {table: max(numbers) for table, numbers in ids.items() if numbers}


def _add_accounts(tables: dict[str, list[Row]]) -> None:
    for number in (1, 2):
        name = f"owner{number}"
        tables["auth_user"].append((number, "", None, False, name, "", "", f"{name}@example.org", False, True, _THEN))
        tables["account_account"].append((number, address_of(name), number))
    tables["account_accountapikey"] = [_key_row(key) for key in (KEY, OLD_KEY, REVOKED_KEY)]
    tables["account_addresslist"] = [
        (_INSIDERS_LIST, "Insiders"),
        (_SEASONED_LIST, "SeasonedPassportOGs"),
        (_CHOSEN_LIST, "TheChosenOnes"),
    ]
    points = {"SCB": 500, "HKY": 100, "ISG": 500, "CSB": 100}
    tables["registry_humanpointsconfig"] = [
        (index, action, worth, True) for index, (action, worth) in enumerate(points.items(), 1)
    ]


def _key_row(key: SyntheticKey) -> Row:
    salt = f"salt{key.prefix}"
    derived = hashlib.pbkdf2_hmac("sha256", key.text.encode(), salt.encode(), _PBKDF2_ITERATIONS)
    hashed = f"pbkdf2_sha256${_PBKDF2_ITERATIONS}${salt}${base64.b64encode(derived).decode()}"
    fast = "sha256$" + hashlib.sha256(key.text.encode()).hexdigest() if key.sha256 else None
    limits = (None, False, True, True, None, False, None)
    return (f"{key.prefix}.{hashed}", key.prefix, hashed, _THEN, key.prefix, key.revoked, None, 1, *limits, fast)


def _add_community(tables: dict[str, list[Row]], community: SyntheticCommunity) -> None:
    scorer_id = community.id + 10
    kind = "WEIGHTED_BINARY" if community.binary else "WEIGHTED"
    subtype = "scorer_weighted_binaryweightedscorer" if community.binary else "scorer_weighted_weightedscorer"
    tables["scorer_weighted_scorer"].append((scorer_id, kind, False))
    tables[subtype].append((scorer_id, json.dumps(community.weights), community.threshold))
    name = f"Community {community.id}"
    owned = (community.id, name, "Synthetic", community.account_id, scorer_id, _THEN, "LIFO", None, None)
    tables["account_community"].append((*owned, community.external_scorer_id, community.human_points))


def _add_customization(tables: dict[str, list[Row]]) -> None:
    flags = (False, False, "SIMPLE_VERIFY", False, "Partner", 0, False)
    tables["account_customization"].append((1, "partner", CUSTOMIZED.id, *flags))
    tables["account_allowlist"].append((1, Decimal("3.2500"), _INSIDERS_LIST, 1))
    tables["account_customplatform"].append((_CUSTOM_ID, "DEVEL", "Synthetic", "Custom stamps", False))
    tables["account_customcredentialruleset"].append(
        (_CUSTOM_ID, "DEVEL", json.dumps({"name": "Badge"}), "Badge", "Custom#Badge")
    )
    tables["account_customcredential"].append((1, Decimal("1.1250"), "Badge", 1, _CUSTOM_ID, _CUSTOM_ID))


def _add_person(tables: dict[str, list[Row]], person: Person) -> None:
    for stamp in person.stamps:
        cached = tables["ceramic_cache_ceramiccache"]
        proof = stamp.credential["proof"]["proofValue"]
        head = (len(cached) + 1, person.address, stamp.provider, json.dumps(stamp.credential), _THEN, _THEN, 1, None)
        cached.append((*head, "pending", "", None, None, proof, 1, None))
        if stamp.revoked:
            revoked = tables["ceramic_cache_revocation"]
            revoked.append((len(revoked) + 1, proof, len(cached)))
    members = tables["account_addresslistmember"]
    if person.case is PersonCase.POINTS:
        members.append((len(members) + 1, person.address, _SEASONED_LIST if len(members) % 2 else _CHOSEN_LIST))
    links = tables["registry_hashscorerlink"]
    for link in person.links:
        for community in COMMUNITIES:
            links.append((len(links) + 1, link.nullifier, link.address, link.expires_at, community.id))
