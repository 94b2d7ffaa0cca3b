"""Every way to get a config wrong ends with one line: place, found, expected, what to do."""

import pytest

from tests.config import bad_file, bad_transfer
from tmg_etl import errors

CASES = bad_file.CASES | bad_transfer.CASES


@pytest.mark.parametrize(("text", "line", "key", "fragments"), CASES.values(), ids=CASES)
def test_bad_config_is_one_line_with_place_and_advice(load, text, line, key, fragments):
    with pytest.raises(errors.ConfigError) as caught:
        load(text)
    message = str(caught.value)
    assert caught.value.exit_code == 78
    assert caught.value.where == (f"config.yaml:{line}:{key}" if key else f"config.yaml:{line}")
    for fragment in fragments:
        assert fragment in message
    assert "\n" not in message
    assert "geheim" not in message


def test_there_are_enough_ways():
    assert len(CASES) >= 40


def test_further_problems_are_counted(load):
    with pytest.raises(errors.ConfigError, match=r"2 more problems in this file"):
        load(bad_transfer.TRANSFER + "    a: 1\n    b: 2\n    c: 3\n")


def test_unknown_environment_lists_all(load):
    with pytest.raises(errors.ConfigError) as caught:
        load("environments: {prod: {}, dev: {}}\n", env="prdo")
    assert str(caught.value) == (
        "config.yaml:1:environments: found no environment 'prdo'; "
        "did you mean `prod`? environments in this file: dev, local, prod"
    )
