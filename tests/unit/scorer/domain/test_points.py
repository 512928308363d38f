from scorer.domain.points import EarnedPoints, PointsData, points_data, possible_points


def test_actions_are_summed_over_chains_and_listed_by_chain():
    data = points_data(
        [EarnedPoints("HKY", 0, 200), EarnedPoints("PMT", 1, 300), EarnedPoints("PMT", 10, 300)],
        multiplier=2,
        eligible=True,
    )
    assert data == PointsData(800, True, 2, {"HKY": 200, "PMT_1": 300, "PMT": 600, "PMT_10": 300})


def test_him_is_not_counted():
    assert points_data([EarnedPoints("HIM", 10, 1000)], multiplier=2, eligible=False) == PointsData(0, False, 1, {})


def test_address_without_points_has_no_multiplier():
    assert points_data([], multiplier=5, eligible=True) == PointsData(0, True, 1, {})


def test_without_a_multiplier_row_it_is_one():
    assert points_data([EarnedPoints("HKY", 0, 100)], multiplier=None, eligible=False).multiplier == 1


def test_possible_points_list_every_active_action_without_a_total():
    assert possible_points({"HIM": 1000, "HKY": 100}, multiplier=2) == PointsData(
        0, False, 2, {"HIM": 1000, "HKY": 100}
    )


def test_multiplier_of_zero_is_zero():
    assert points_data([EarnedPoints("HKY", 0, 100)], multiplier=0, eligible=False).multiplier == 0
