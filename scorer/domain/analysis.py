"""The model services: which names there are, what a client may ask for, and what the aggregate model is told.

Observed of the legacy: one model a request; spaces around a name and repetitions are forgiven; the aggregate model is fed
with what the six single models (all but nft) say, absent values being null.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

AGGREGATE = "aggregate"
MODEL_NAMES = ("ethereum_activity", "nft", "zksync", "polygon", "arbitrum", "optimism", "base", AGGREGATE)

# The models that feed the aggregate, with the short names that it knows them by.
AGGREGATE_INPUTS = {
    "zksync": "zk",
    "polygon": "polygon",
    "ethereum_activity": "eth",
    "arbitrum": "arb",
    "optimism": "op",
    "base": "base",
}


@dataclass(frozen=True, slots=True)
class ModelRefusal:
    """Why the names asked for are no request."""

    detail: str


def parse_model(text: str | None) -> str | ModelRefusal:
    """The one model that is asked for; nothing at all means the aggregate."""
    if not text or not text.strip():
        return AGGREGATE
    names = {name.strip() for name in text.split(",") if name.strip()}
    if len(names) > 1:
        return ModelRefusal("Currently, only one model name can be provided at a time")
    if not names:
        return ModelRefusal("No model names provided")
    name = names.pop()
    if name not in MODEL_NAMES:
        return ModelRefusal(f"Invalid model name(s): {name}. Must be one of {', '.join(MODEL_NAMES)}")
    return name


def aggregate_data(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """What the aggregate model is sent beside the address: score and number of transactions of every input model."""
    data: dict[str, Any] = {}
    for model, short in AGGREGATE_INPUTS.items():
        figures = _figures(answers[model])
        data[f"score_{short}"] = figures.get("human_probability", 0)
        data[f"txs_{short}"] = figures.get("n_transactions", 0)
    return data


def human_probability(answer: Mapping[str, Any]) -> float:
    """The score in a model's answer, 0 when there is none.

    Raises:
        ValueError: the score is not a number.
    """
    found = _figures(answer).get("human_probability", 0)
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise ValueError(found)  # noqa: TRY004 - a foreign answer is a bad value, not a programmer's mistake.
    return float(found)


def _figures(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    figures = answer.get("data")
    return cast("Mapping[str, Any]", figures) if isinstance(figures, Mapping) else {}


def failure_text(failed: Sequence[tuple[str, int]]) -> str:
    """The response's text when models (name, HTTP status) did not answer; an exception counts as 500."""
    listed = ", ".join(f'{{"model": "{model}", "status": {status}}}' for model, status in failed)
    return f"Error retrieving Passport analysis: [{listed}]"
