"""After the chapters have run, list how long each took and how much memory its kernel needed."""

import pytest


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    rows = [
        dict(report.user_properties)
        for outcome in ("passed", "failed")
        for report in terminalreporter.getreports(outcome)
        if dict(report.user_properties).get("chapter")
    ]
    if rows:
        terminalreporter.section("chapters")
    for row in rows:
        line = f"{row['chapter']:<28}{row['seconds']:7.1f} s{row['peak_mb']:8.0f} MB"
        terminalreporter.write_line(line)
