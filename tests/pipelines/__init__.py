"""Tests of the two pipes. The contracts are classes that the tests of each back end inherit."""

import pytest

pytest.register_assert_rewrite(
    "tests.pipelines.contract_traffic_log",
    "tests.pipelines.contract_registry",
    "tests.pipelines.contract_kill",
)
