"""The model services: the names of the models, the parsing of a client's choice, and the input of the aggregate model.

Observed of the legacy: one model for each request; spaces around a name and repetitions are ignored, an empty name between commas is
not; the input of the aggregate model is the results of the six single models (all but nft). A model's answer without an object `data`
fails the request; a number that is missing in it is 0.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

AGGREGATE = "aggregate"
_FAILURE = "Error retrieving Passport analysis"
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
    names = {name.strip() for name in text.split(",")}
    if len(names) > 1:
        return ModelRefusal("Currently, only one model name can be provided at a time")
    name = names.pop()
    if not name:
        return ModelRefusal("No model names provided")
    if name not in MODEL_NAMES:
        return ModelRefusal(f"Invalid model name(s): {name}. Must be one of {', '.join(MODEL_NAMES)}")
    return name


def aggregate_data(answers: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Build the aggregate model's input: score and number of transactions of every input model.

    Raises:
        ValueError: an answer has no object `data`.
    """
    data: dict[str, Any] = {}
    for model, short in AGGREGATE_INPUTS.items():
        figures = model_data(answers[model])
        data[f"score_{short}"] = figures.get("human_probability", 0)
        data[f"txs_{short}"] = figures.get("n_transactions", 0)
    return data


def model_data(answer: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the object `data` of a model's answer.

    Raises:
        ValueError: there is none.
    """
    data = answer.get("data")
    if not isinstance(data, Mapping):
        raise ValueError("data")  # noqa: TRY004 - an answer from outside, not a programming error.
    return cast("Mapping[str, Any]", data)


def failure_text(statuses: Sequence[tuple[str, int]] = ()) -> str:
    """Format the error text for the called models (name, HTTP status), those that succeeded included; without any, the bare text."""
    if not statuses:
        return _FAILURE
    listed = ", ".join(f'{{"model": "{model}", "status": {status}}}' for model, status in statuses)
    return f"{_FAILURE}: [{listed}]"
