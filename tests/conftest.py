"""Fixtures that several test files share."""

import pytest

from grader.judge import Judge


@pytest.fixture(scope="session")
def judge():
    with Judge() as judge:
        yield judge
