"""The pipelines of docs/testing.md: two with a bug, and two without."""

import pyarrow as pa

import tmg_etl
from tmg_etl import errors
from tmg_etl.connectors import base, memory
from tmg_etl.transfer import pipeline


class DeleteAndInsert(tmg_etl.TMGETL):
    """Replaces a table statement by statement; a crash between two of them shows."""

    def pre_execution_cleansing(self) -> None:
        self.run.connections["serving"].execute("DELETE FROM agent")

    def pipeline(self) -> None:
        for name in ("ada", "bob", "eve"):
            self.run.connections["serving"].execute(
                "INSERT INTO agent (name) VALUES (:name)", {"name": name}
            )

    def post_execution_cleanup(self) -> None:
        pass


class OneStatement(DeleteAndInsert):
    """Replaces the table in one statement."""

    def pre_execution_cleansing(self) -> None:
        pass

    def pipeline(self) -> None:
        self.run.connections["serving"].execute(
            "INSERT OR REPLACE INTO agent (name) VALUES ('ada'), ('bob'), ('eve')"
        )


class Forgiving(pipeline.TransferPipeline):
    """Publishes what had arrived when the lake went away."""

    def open_source(self) -> base.Source:
        names = ["unknown"]
        with super().open_source() as lake:
            try:
                for batch in lake.read(["name"]):
                    names += batch.column("name").to_pylist()
            except errors.TemporaryError as error:
                self.logger.warning("the lake is away: %s", error)
        return memory.MemorySource(pa.table({"name": names}), "agents, and an unknown one")


class Strict(pipeline.TransferPipeline):
    """Leaves the error to whoever can do something about it: the next run."""

    def open_source(self) -> base.Source:
        names = ["unknown"]
        with super().open_source() as lake:
            for batch in lake.read(["name"]):
                names += batch.column("name").to_pylist()
        return memory.MemorySource(pa.table({"name": names}), "agents, and an unknown one")
