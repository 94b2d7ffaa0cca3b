"""The pipelines of docs/testing.md: one with a bug, and one without."""

import tmg_etl


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
