"""What the suites share: the place under test, and parameters that follow its traits."""

from __future__ import annotations

from typing import ClassVar

import pytest

from tmg_etl.testing.conformance import profile as profile_module
from tmg_etl.testing.conformance import publication, sample


class TargetSuite:
    """Base of the suites that publish into a place.

    A test module supplies the fixture `target_place`, of scope ``module``, and a class whose
    attribute `profile` is the class of that place.
    """

    profile: ClassVar[type[profile_module.TargetPlace]]

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        """Run a test once for each `column` and each kind of `publish` that the target has."""
        if not hasattr(self, "profile"):
            return
        traits = self.profile.traits
        if "column" in metafunc.fixturenames:
            names = [column.name for column in sample.columns(traits)]
            metafunc.parametrize("column", names)
        if "publish" in metafunc.fixturenames:
            metafunc.parametrize("publish", traits.publishes)

    @pytest.fixture
    def place(self, target_place: profile_module.TargetPlace) -> profile_module.TargetPlace:
        """Return the place under test."""
        return target_place

    @pytest.fixture
    def target(self, place: profile_module.TargetPlace) -> publication.Publication:
        """Return a table that nobody has published to yet."""
        return publication.Publication(place, publication.new_name())
