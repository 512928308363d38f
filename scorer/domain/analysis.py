"""The model services: the names of the models, the parsing of a client's choice, and the input of the aggregate model.

Observed of the legacy: one model for each request; spaces around a name and repetitions are ignored; the input of the aggregate model
is the results of the six single models (all but nft).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

AGGREGATE = "aggregate"
MODEL_NAMES = ("ethereum_activity", "nft", "zksync", "polygon", "arbitrum", "optimism", "base", AGGREGATE)

# The inputs of the aggregate model, with their names in its request.
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
    """The reason for which a choice of models is refused."""

    detail: str


def parse_model(text: str | None) -> str | ModelRefusal:
    """Parse the requested model; an empty text stands for the aggregate."""
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
    """Build the aggregate model's input: score and number of transactions of every input model."""
    data: dict[str, Any] = {}
    for model, short in AGGREGATE_INPUTS.items():
        figures = _figures(answers[model])
        data[f"score_{short}"] = figures.get("human_probability", 0)
        data[f"txs_{short}"] = figures.get("n_transactions", 0)
    return data


def human_probability(answer: Mapping[str, Any]) -> float:
    """Return the score in a model's answer, 0 without one.

    Raises:
        ValueError: the score is not a number.
    """
    score = _figures(answer).get("human_probability", 0)
    if isinstance(score, bool) or not isinstance(score, int | float):
        raise ValueError(score)  # noqa: TRY004 - an answer from outside, not a programming error.
    return float(score)


def _figures(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    figures = answer.get("data")
    return cast("Mapping[str, Any]", figures) if isinstance(figures, Mapping) else {}


def failure_text(failed: Sequence[tuple[str, int]]) -> str:
    """Format the error text for failed models (name, HTTP status); an exception counts as 500."""
    listed = ", ".join(f'{{"model": "{model}", "status": {status}}}' for model, status in failed)
    return f"Error retrieving Passport analysis: [{listed}]"
