"""proxy.runner.calibrate: runs whose rows are not surely their own are no evidence."""

import pytest

from comparator.exchanges.model import Effects, EffectsOutcome
from proxy.runner.calibrate import is_no_evidence
from tests.support.comparisons import mirrored, response

NO_EVIDENCE = {EffectsOutcome.LOST, EffectsOutcome.UNTAGGED, EffectsOutcome.INTERFERED}


@pytest.mark.parametrize("outcome", EffectsOutcome)
def test_run_whose_response_may_rest_on_another_is_no_evidence(outcome: EffectsOutcome) -> None:
    assert is_no_evidence(mirrored(response({}), Effects(outcome))) is (outcome in NO_EVIDENCE)
