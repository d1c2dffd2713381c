"""A plugin for pytest that writes how each test ended, one a line, to the file that OUTCOMES names."""

import os

# The worst that was said of a test counts: its set-up, itself, its parts, its tear-down.
ORDER = ["passed", "skipped", "failed"]
outcomes = {}


def pytest_runtest_logreport(report):
    before = outcomes.get(report.nodeid, "passed")
    outcomes[report.nodeid] = max(before, report.outcome, key=ORDER.index)


def pytest_sessionfinish():
    with open(os.environ["OUTCOMES"], "w", encoding="utf-8") as file:
        for test, outcome in outcomes.items():
            # Names may hold whatever a test is given.
            file.write(f"{outcome} {test.encode('unicode_escape').decode()}\n")
