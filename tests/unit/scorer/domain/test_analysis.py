import pytest

from scorer.domain.analysis import (
    AGGREGATE_INPUTS,
    ModelRefusal,
    aggregate_data,
    failure_text,
    model_data,
    parse_model,
)


@pytest.mark.parametrize(
    ("text", "model"),
    [
        (None, "aggregate"),
        ("", "aggregate"),
        ("nft", "nft"),
        (" base ", "base"),
        ("nft,nft", "nft"),
        (" nft , nft", "nft"),
    ],
)
def test_model_is_read(text: str | None, model: str):
    assert parse_model(text) == model


@pytest.mark.parametrize(
    ("text", "detail"),
    [
        ("nft,base", "Currently, only one model name can be provided at a time"),
        ("nft,nosuch", "Currently, only one model name can be provided at a time"),
        ("nft,", "Currently, only one model name can be provided at a time"),
        (",nft, ", "Currently, only one model name can be provided at a time"),
        (",", "No model names provided"),
        (" , ", "No model names provided"),
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


def test_aggregate_is_fed_by_every_input_model():
    answers = {model: {"data": {"human_probability": 1, "n_transactions": 2}} for model in AGGREGATE_INPUTS}
    assert aggregate_data(answers) == {
        f"{figure}_{short}": value
        for short in AGGREGATE_INPUTS.values()
        for figure, value in (("score", 1), ("txs", 2))
    }


def test_missing_figures_of_an_input_model_are_zero():
    data = aggregate_data({model: {"data": {}} for model in AGGREGATE_INPUTS})
    assert set(data.values()) == {0}


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": []}, {"data": "text"}, {"data": 5}])
def test_answer_without_an_object_of_data_is_refused(answer: dict):
    with pytest.raises(ValueError, match="data"):
        model_data(answer)


@pytest.mark.parametrize("answer", [{}, {"data": None}, {"data": [1]}])
def test_aggregate_is_not_fed_with_an_answer_without_data(answer: dict):
    answers = {model: {"data": {}} for model in AGGREGATE_INPUTS} | {"base": answer}
    with pytest.raises(ValueError, match="data"):
        aggregate_data(answers)


def test_failure_without_statuses_is_the_bare_text():
    assert failure_text() == "Error retrieving Passport analysis"


def test_failures_are_listed_as_json_text():
    assert failure_text([("base", 500), ("nft", 404)]) == (
        'Error retrieving Passport analysis: [{"model": "base", "status": 500}, {"model": "nft", "status": 404}]'
    )
