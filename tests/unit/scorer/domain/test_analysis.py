import pytest

from scorer.domain.analysis import (
    AGGREGATE_INPUTS,
    ModelRefusal,
    aggregate_data,
    failure_text,
    human_probability,
    parse_model,
)


@pytest.mark.parametrize(
    ("text", "model"),
    [(None, "aggregate"), ("", "aggregate"), ("nft", "nft"), (" base ", "base"), ("nft,nft", "nft"), ("nft,", "nft")],
)
def test_a_model_is_read(text: str | None, model: str):
    assert parse_model(text) == model


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("nft,base", "Currently, only one model name can be provided at a time"),
        ("nft,nosuch", "Currently, only one model name can be provided at a time"),
        (",", "No model names provided"),
        (
            "nosuch",
            (
                "Invalid model name(s): nosuch. Must be one of "
                "ethereum_activity, nft, zksync, polygon, arbitrum, optimism, base, aggregate"
            ),
        ),
    ],
)
def test_other_names_are_refused(text: str, detail: str):
    assert parse_model(text) == ModelRefusal(detail)


def test_the_aggregate_is_fed_by_every_input_model():
    answers = {model: {"data": {"human_probability": 1, "n_transactions": 2}} for model in AGGREGATE_INPUTS}
    assert aggregate_data(answers) == {
        f"{figure}_{short}": value
        for short in AGGREGATE_INPUTS.values()
        for figure, value in (("score", 1), ("txs", 2))
    }


@pytest.mark.parametrize(
    ("answer", "score"), [({"data": {"human_probability": 66}}, 66.0), ({"data": {}}, 0.0), ({}, 0.0)]
)
def test_the_score_is_the_human_probability_or_nothing(answer: dict, score: float):
    assert human_probability(answer) == score


def test_a_score_that_is_no_number_is_refused():
    with pytest.raises(ValueError, match="much"):
        human_probability({"data": {"human_probability": "much"}})


def test_failures_are_listed_as_json_text():
    assert failure_text([("base", 500), ("nft", 404)]) == (
        'Error retrieving Passport analysis: [{"model": "base", "status": 500}, {"model": "nft", "status": 404}]'
    )
