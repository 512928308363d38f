"""What a made-up day of traffic consists of, declared as data: who the people are, and what is asked for how often.

A profile is a YAML file of the form of `Profile`. Those that come with the program lie in `profiles/`; pure but for `load`, which
reads them.
"""

from enum import StrEnum
from pathlib import Path

import msgspec
from msgspec import Struct

from scorer.errors import ScorerSettingsError
from scorer.population.people import Case

FOLDER = Path(__file__).parent / "profiles"


class Kind(StrEnum):
    """Kinds of requests. Those that begin with `embed_` or `ceramic_` hand stamps in; what is wrong with them is in the name."""

    SCORE = "score"
    REPEAT = "repeat"
    OLD_KEY = "old_key"
    MIXED_CASE = "mixed_case"
    BAD_ADDRESS = "bad_address"
    UNKNOWN_SCORER = "unknown_scorer"
    FOREIGN_SCORER = "foreign_scorer"
    SCORER_NO_NUMBER = "scorer_no_number"
    WRONG_KEY = "wrong_key"
    REVOKED_KEY = "revoked_key"
    NO_KEY = "no_key"
    STRANGER = "stranger"
    EMBED_SCORE = "embed_score"
    EMBED_ADD = "embed_add"
    EMBED_NO_TOKEN = "embed_no_token"  # noqa: S105 (the name of a kind)
    EMBED_BAD_ADDRESS = "embed_bad_address"
    EMBED_TWICE = "embed_twice"
    EMBED_NO_PROOF = "embed_no_proof"
    CERAMIC_SCORE = "ceramic_score"
    CERAMIC_ADD = "ceramic_add"
    CERAMIC_REPLACE = "ceramic_replace"
    CERAMIC_DELETE = "ceramic_delete"
    CERAMIC_NO_TOKEN = "ceramic_no_token"  # noqa: S105 (the name of a kind)
    CERAMIC_LATE_TOKEN = "ceramic_late_token"  # noqa: S105 (the name of a kind)
    CERAMIC_FORGED_TOKEN = "ceramic_forged_token"  # noqa: S105 (the name of a kind)
    CERAMIC_MALFORMED = "ceramic_malformed"


class Profile(Struct, frozen=True, forbid_unknown_fields=True):
    """One kind of day.

    Attributes:
        about: in a sentence.
        people: how many people of each case, in proportion.
        requests: how many requests of each kind, in proportion.
        regulars: the share of the people who are asked for again and again, and the share of the requests for a score that is
            about them; the others are asked for in turn.
    """

    about: str
    people: dict[Case, int]
    requests: dict[Kind, int]
    regulars: tuple[float, float] = (0.0, 0.0)


def load(name: str) -> Profile:
    """A profile by the name it has in `profiles/`, or by its file's path.

    Raises:
        SettingsError: there is none, or it is not of the form; the message names the place.
    """
    path = FOLDER / f"{name}.yaml" if name in names() else Path(name)
    try:
        return parse(path.read_bytes())
    except OSError as error:
        raise ScorerSettingsError(
            f"profile {name}: neither one of {', '.join(names())} nor a file that can be read"
        ) from error
    except msgspec.MsgspecError as error:
        raise ScorerSettingsError(f"profile {name}: {error}") from error


def names() -> list[str]:
    """Of the profiles that come with the program."""
    return sorted(path.stem for path in FOLDER.glob("*.yaml"))


def parse(text: bytes) -> Profile:
    """A profile's text.

    Raises:
        msgspec.MsgspecError: it is not of the form.
    """
    profile = msgspec.yaml.decode(text, type=Profile)
    shares = [*profile.people.values(), *profile.requests.values()]
    if not profile.people or not profile.requests or min(shares) < 0:
        raise msgspec.ValidationError("people and requests are not empty, and no share is below 0 - at `$`")
    if not (sum(profile.people.values()) and sum(profile.requests.values())):
        raise msgspec.ValidationError("some share of people and of requests is above 0 - at `$`")
    if not all(0 <= share <= 1 for share in profile.regulars):
        raise msgspec.ValidationError("shares are between 0 and 1 - at `$.regulars`")
    return profile
