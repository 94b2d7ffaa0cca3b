"""Files as a source: Parquet written with pyarrow alone."""

from __future__ import annotations

import pytest

from tests.conformance import files_place
from tmg_etl import errors
from tmg_etl import run as run_module
from tmg_etl.config import model
from tmg_etl.connectors import files
from tmg_etl.testing import conformance
from tmg_etl.testing.conformance import publication


@pytest.fixture(scope="module")
def origin(tmp_path_factory: pytest.TempPathFactory) -> files_place.FilesOrigin:
    return files_place.FilesOrigin(tmp_path_factory.mktemp("lake"))


class TestSource(conformance.SourceConformance):
    """See `conformance`."""


class TestChange:
    def test_a_file_that_changes_while_it_is_read_is_a_temporary_error(
        self, origin: files_place.FilesOrigin
    ) -> None:
        name = publication.new_name("changing")
        origin.seed(name, [(number, None, f"n{number}") for number in range(20)])
        config = model.Config.model_validate({"connections": {"lake": dict(origin.connection)}})
        connection = files.FilesConnection(config.connections["lake"], origin.folder)
        assert isinstance(connection.stop, run_module.StopFlag)
        spec = model.SourceSpec(connection="lake", table=name)
        with connection.open_source(spec, publication.DAY) as source:
            batches = source.read(["id"], batch_rows=1)
            next(batches)
            origin.change(name)
            with pytest.raises(errors.TemporaryError, match="part-1"):
                list(batches)
