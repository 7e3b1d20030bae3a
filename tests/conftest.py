"""A skip is never a pass: a run in which any test was skipped fails, and says which."""

import pytest


def pytest_sessionfinish(session: pytest.Session) -> None:
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    if reporter is None or not reporter.stats.get("skipped"):
        return
    session.exitstatus = pytest.ExitCode.TESTS_FAILED
    reporter.section("skipped, and therefore failed")
    for report in reporter.stats["skipped"]:
        reporter.line(f"{report.nodeid}: {report.longrepr}")
