"""The use of the configuration: rules, tables and what waits for a restart."""

from dataclasses import replace

from comparator.exchanges.difference import RuleHit
from comparator.settings import StoreSettings
from proxy.config.backends import BackendSettings, BackendsSettings, SideInstances
from proxy.config.runner import RunnerSettings
from proxy.config.settings import Settings
from proxy.runner.configuration_use import ConfigurationUse
from tests.support.comparisons import mismatch


def backends(*, live: str = "", shadow: str = "") -> BackendsSettings:
    return BackendsSettings(legacy=SideInstances(live=BackendSettings(url=live), shadow=BackendSettings(url=shadow)))


def test_rules_are_counted_once_a_comparison_and_expired_ones_not_at_all() -> None:
    use, compared = ConfigurationUse(Settings()), mismatch("a")
    hits = (RuleHit("compare.rules[0]"), RuleHit("compare.rules[0]", ("a",)), RuleHit("compare.rules[1]", expired=True))
    use.add(replace(compared, comparison=replace(compared.comparison, rule_hits=hits)))
    use.add(replace(compared, comparison=replace(compared.comparison, rule_hits=())))
    assert use.status["comparisons"] == 2
    assert use.status["rules"] == {"compare.rules[0]": 1}


def test_fields_of_the_runner_wait_for_its_restart() -> None:
    before = Settings(backends=backends(live="http://a", shadow="http://b"))
    use = ConfigurationUse(before)
    use.changed(Settings(backends=backends(live="http://c", shadow="http://b"), store=before.store))
    assert use.needs_restart == ()
    use.changed(
        Settings(
            backends=backends(live="http://a", shadow="http://d"),
            runner=RunnerSettings(concurrency=3),
            store=StoreSettings(retention_days=3),
        )
    )
    assert use.needs_restart == ("backends.legacy.shadow.url", "store.retention_days", "runner.concurrency")
    use.changed(before)
    assert use.needs_restart == ()
