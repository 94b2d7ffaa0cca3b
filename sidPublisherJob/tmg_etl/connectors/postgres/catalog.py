"""What the server's catalogue says of a table: columns, keys, and what forbids to replace it."""

from __future__ import annotations

import dataclasses

import pyarrow as pa

from tmg_etl import errors
from tmg_etl.connectors import base, sql
from tmg_etl.connectors.postgres import kind
from tmg_etl.connectors.postgres import session as session_module

_KIND_NAMES = {
    "v": "a view",
    "m": "a materialized view",
    "f": "a foreign table",
    "S": "a sequence",
    "i": "an index",
    "I": "an index",
    "c": "a composite type",
}


@dataclasses.dataclass(frozen=True)
class Relation:
    """A table or view that exists.

    Attributes:
        oid: its number, which a replacement changes.
        schema: name of its schema.
        name: its own name.
        kind: relkind of pg_class.
        rows: estimate of the statistics; None when there are none.
        size_bytes: of its rows on disk, without large values and indexes; 0 for a view.
    """

    oid: int
    schema: str
    name: str
    kind: str
    rows: int | None
    size_bytes: int

    @property
    def qualified(self) -> str:
        """Return schema and name as statements write them."""
        return f"{session_module.quote(self.schema)}.{session_module.quote(self.name)}"

    @property
    def display(self) -> str:
        """Return schema and name for messages."""
        return f"{self.schema}.{self.name}"

    def is_counted_quickly(self, most_rows: int, most_bytes: int) -> bool:
        """Return whether counting reads little; a view may compute anything."""
        if self.kind not in "rm":
            return False
        return self.size_bytes < most_bytes or (self.rows or most_rows) < most_rows


def find(session: session_module.Session, schema: str | None, table: str) -> Relation | None:
    """Return the relation of that name, or None.

    Args:
        session: an open session.
        schema: where to look; None means the search path.
        table: its name, as one identifier.

    Raises:
        errors.ConfigError: the name is too long to exist.
        sql.ReplacedError: it was replaced each time that it was looked at.
    """
    return sql.steadily(table, lambda: _find(session, schema, table), lambda: None)


def _find(session: session_module.Session, schema: str | None, table: str) -> Relation | None:
    session_module.require_name(table)
    name = session_module.quote(table)
    if schema is not None:
        session_module.require_name(schema)
        name = f"{session_module.quote(schema)}.{name}"
    # to_regclass gives null for a schema without USAGE as for a missing one; a lookup by name
    # sees both.
    found = session.rows(
        # The last ANALYZE may be old: its density holds for the pages there are now. An empty one
        # says nothing about a table that has grown since.
        "SELECT c.oid, n.nspname, c.relname, c.relkind::text,"
        " CASE WHEN c.relkind NOT IN ('r', 'm') OR pg_relation_size(c.oid) = 0 THEN c.reltuples"
        " WHEN c.relpages = 0 THEN -1"
        " ELSE c.reltuples / c.relpages * pg_relation_size(c.oid)"
        " / current_setting('block_size')::int END::bigint,"
        " CASE WHEN c.relkind IN ('r', 'm') THEN pg_relation_size(c.oid) ELSE 0 END,"
        " has_schema_privilege(n.oid, 'USAGE')"
        " FROM pg_catalog.pg_class AS c JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace"
        + (
            " WHERE n.nspname = %s AND c.relname = %s"
            if schema is not None
            else " WHERE c.oid = to_regclass(%s)"
        ),
        [schema, table] if schema is not None else [name],
    )
    if not found:
        return None
    oid, space, relname, relkind, rows, size_bytes, is_usable = found[0]
    if None in (rows, size_bytes, is_usable):
        # Sizes and rights are those of now: null for what has gone since the statement began.
        raise sql.ReplacedError(f"{space}.{relname}")
    if not is_usable:
        raise errors.AccessError(
            f"{session.place}: permission denied for schema {space}",
            hint=f"GRANT USAGE ON SCHEMA {space}",
        )
    return Relation(oid, space, relname, relkind, rows if rows >= 0 else None, size_bytes)


def schema_of(session: session_module.Session, schema: str | None, table: str) -> str:
    """Return the schema of a target, which may not exist yet.

    Raises:
        errors.ConfigError: there is no such schema.
    """
    relation = find(session, schema, table)
    if relation is not None:
        return relation.schema
    if schema is None:
        current = session.value("SELECT current_schema()")
        if current is None:
            raise errors.ConfigError(
                f"{session.place}: none of the schemas of the search path exists",
                hint="write `schema` in the connection",
            )
        return str(current)
    if not session.rows("SELECT 1 FROM pg_catalog.pg_namespace WHERE nspname = %s", [schema]):
        raise errors.ConfigError(
            f"{session.place}: there is no schema {schema!r}",
            hint="create it, or correct `schema` of the connection",
        )
    return schema


def require_table(relation: Relation) -> None:
    """Refuse to publish into something that is not a table.

    Raises:
        errors.ConfigError: it is a view, a sequence, …
    """
    if relation.kind not in "rp":
        what = _KIND_NAMES.get(relation.kind, "not a table")
        raise errors.ConfigError(
            f"the target {relation.display} is {what}, expected a table",
            hint="publish into the table behind it, or under another name",
        )


def result_columns(
    session: session_module.Session, source: str, *, nested_as_json: bool
) -> list[kind.Typed]:
    """Return the columns of a table or subquery, as it appears after FROM.

    The server describes the result of a query that returns no row: this works for everything that
    can be selected from, and reports a domain as the type below it.
    """
    with session.guarded():
        result = session.raw.execute(f"SELECT * FROM {source} LIMIT 0".encode()).pgresult
    assert result is not None
    found = [
        ((result.fname(i) or b"").decode(), result.ftype(i), result.fmod(i))
        for i in range(result.nfields)
    ]
    if not found:
        raise errors.ConfigError(f"{session.place}: {source} has no columns")
    types = {
        (oid, modifier): (name, is_nested, native)
        for oid, modifier, name, is_nested, native in session.rows(
            "SELECT t.oid::bigint, w.modifier,"
            " CASE WHEN t.typnamespace = 'pg_catalog'::regnamespace THEN t.typname ELSE '' END,"
            " t.typcategory = 'A' OR t.typtype = 'c' OR t.typname = 'record',"
            " format_type(t.oid, w.modifier)"
            " FROM unnest(%s::oid[], %s::int[]) AS w (oid, modifier)"
            " JOIN pg_catalog.pg_type AS t ON t.oid = w.oid",
            [[oid for _, oid, _ in found], [modifier for _, _, modifier in found]],
        )
    }
    columns = []
    for name, oid, modifier in found:
        type_name, is_nested, native = types[oid, modifier]
        how = kind.of(type_name, modifier, is_nested=is_nested, nested_as_json=nested_as_json)
        columns.append(kind.Typed(name, how, native))
    return columns


def nullable_columns(session: session_module.Session, relation: Relation) -> dict[str, bool]:
    """Return whether each column may be null."""
    return {
        name: not is_required
        for name, is_required in session.rows(
            "SELECT attname, attnotnull FROM pg_catalog.pg_attribute"
            f" WHERE attrelid = {relation.oid} AND attnum > 0 AND NOT attisdropped"
        )
    }


def _target_field(column: kind.Typed, *, nullable: bool) -> pa.Field:
    """Return the field of a column to write; of a domain, `native` is the type below it."""
    if column.native == "uuid":
        return base.uuid_field(column.name, nullable)
    if column.native.startswith(("character(", "bpchar")):
        return base.padded_field(column.name, nullable)
    return column.field(nullable)


def describe(session: session_module.Session, relation: Relation) -> base.Table:
    """Return what is known of a table.

    Raises:
        errors.AccessError: it may not be read.
    """
    facts = {
        name: (native, is_required, has_default, is_generated)
        for name, native, is_required, has_default, is_generated in session.rows(
            "SELECT attname, format_type(atttypid, atttypmod), attnotnull,"
            " atthasdef OR attidentity <> '', attgenerated <> ''"
            " FROM pg_catalog.pg_attribute"
            f" WHERE attrelid = {relation.oid} AND attnum > 0 AND NOT attisdropped"
        )
    }
    columns = []
    for column in result_columns(session, relation.qualified, nested_as_json=False):
        native, is_required, has_default, is_generated = facts[column.name]
        field = _target_field(column, nullable=not is_required)
        columns.append(base.Column(field, native, has_default, is_generated))
    primary, unique, indexes = _keys(session, relation)
    checks, referenced = session.rows(
        "SELECT ARRAY(SELECT ARRAY[conname::text, CASE WHEN convalidated"
        " THEN pg_get_expr(conbin, conrelid) END] FROM pg_catalog.pg_constraint"
        f" WHERE conrelid = {relation.oid} AND contype = 'c' ORDER BY conname),"
        " ARRAY(SELECT a.attname::text FROM pg_catalog.pg_constraint AS k"
        " JOIN pg_catalog.pg_attribute AS a ON a.attrelid = k.confrelid"
        f" AND a.attnum = ANY (k.confkey) WHERE k.confrelid = {relation.oid})"
    )[0]
    return base.Table(
        columns=tuple(columns),
        primary_key=primary,
        unique_keys=unique,
        indexes=indexes,
        row_estimate=relation.rows,
        swap_blockers=swap_blockers(session, relation),
        change_blockers=_change_blockers(session, relation),
        checks=tuple(base.Check(*check) for check in checks),
        referenced=frozenset(referenced),
    )


def _keys(
    session: session_module.Session, relation: Relation
) -> tuple[tuple[str, ...], tuple[tuple[str, ...], ...], tuple[str, ...]]:
    found = session.rows(
        "SELECT c.relname, i.indisprimary,"
        " i.indisunique AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL,"
        " ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY AS k (n, at)"
        "   JOIN pg_catalog.pg_attribute AS a ON a.attrelid = i.indrelid AND a.attnum = k.n"
        "   WHERE k.at <= i.indnkeyatts ORDER BY k.at)"
        " FROM pg_catalog.pg_index AS i JOIN pg_catalog.pg_class AS c ON c.oid = i.indexrelid"
        f" WHERE i.indrelid = {relation.oid} ORDER BY c.relname"
    )
    primary = next((tuple(names) for _, is_primary, _, names in found if is_primary), ())
    unique = tuple(
        tuple(names) for _, is_primary, is_key, names in found if is_key and not is_primary
    )
    return primary, unique, tuple(name for name, is_primary, _, _ in found if not is_primary)


# Each line: one reason why a table with another oid could not take the place of this one. What the
# copy carries over itself (indexes, constraints, grants, …) is not among them.
_BLOCKERS = """
SELECT 'it is a partitioned table' FROM pg_class WHERE oid = {oid} AND relkind = 'p'
UNION ALL SELECT 'it is a partition' FROM pg_class WHERE oid = {oid} AND relispartition
UNION ALL SELECT 'it is a typed table' FROM pg_class WHERE oid = {oid} AND reloftype <> 0
UNION ALL SELECT 'it inherits from table ' || inhparent::regclass FROM pg_inherits
    WHERE inhrelid = {oid}
UNION ALL SELECT 'table ' || inhrelid::regclass || ' inherits from it' FROM pg_inherits
    WHERE inhparent = {oid}
UNION ALL SELECT 'referenced by foreign key ' || conname || ' of table ' || conrelid::regclass
    FROM pg_constraint WHERE confrelid = {oid} AND contype = 'f' AND conparentid = 0
UNION ALL (SELECT DISTINCT CASE c.relkind WHEN 'v' THEN 'view ' WHEN 'm' THEN 'materialized view '
        ELSE 'a rule of ' END || c.oid::regclass || ' depends on it'
    FROM pg_depend AS d JOIN pg_rewrite AS r ON r.oid = d.objid
    JOIN pg_class AS c ON c.oid = r.ev_class
    WHERE d.classid = 'pg_rewrite'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = {oid} AND r.ev_class <> {oid})
UNION ALL SELECT 'rule ' || rulename || ' on it' FROM pg_rewrite WHERE ev_class = {oid}
UNION ALL SELECT 'trigger ' || tgname || ' on it' FROM pg_trigger
    WHERE tgrelid = {oid} AND NOT tgisinternal
UNION ALL SELECT 'row-level security on it' FROM pg_class AS c WHERE oid = {oid}
    AND (relrowsecurity OR relforcerowsecurity
        OR EXISTS (SELECT 1 FROM pg_policy WHERE polrelid = c.oid))
UNION ALL SELECT 'published by ' || pubname FROM pg_publication_tables AS p
    JOIN pg_class AS c ON c.relname = p.tablename
    JOIN pg_namespace AS n ON n.oid = c.relnamespace AND n.nspname = p.schemaname
    WHERE c.oid = {oid}
UNION ALL SELECT 'fed by a subscription' FROM pg_subscription_rel WHERE srrelid = {oid}
UNION ALL SELECT 'a security label on it' FROM pg_seclabel
    WHERE classoid = 'pg_class'::regclass AND objoid = {oid}
UNION ALL SELECT 'part of extension ' || e.extname FROM pg_depend AS d
    JOIN pg_extension AS e ON e.oid = d.refobjid
    WHERE d.classid = 'pg_class'::regclass AND d.objid = {oid} AND d.deptype = 'e'
UNION ALL SELECT 'owned by ' || relowner::regrole || ', whose rights this user lacks' FROM pg_class
    WHERE oid = {oid} AND NOT pg_has_role(relowner, 'USAGE')
UNION ALL SELECT 'its owner ' || relowner::regrole || ' may not create tables in its schema'
    FROM pg_class WHERE oid = {oid} AND relowner::regrole::text <> quote_ident(current_user)
    AND NOT has_schema_privilege(relowner, relnamespace, 'CREATE')
    AND NOT (SELECT rolsuper FROM pg_roles WHERE rolname = current_user)
UNION ALL (SELECT DISTINCT 'privileges granted by ' || a.grantor::regrole
    FROM pg_class AS c LEFT JOIN pg_attribute AS t ON t.attrelid = c.oid AND t.attacl IS NOT NULL,
    LATERAL (SELECT * FROM aclexplode(c.relacl) UNION ALL SELECT * FROM aclexplode(t.attacl)) AS a
    WHERE c.oid = {oid} AND a.grantor <> c.relowner)
UNION ALL (SELECT DISTINCT pg_describe_object(classid, objid, objsubid) || ' depends on it'
    FROM pg_depend WHERE deptype = 'n'
    AND ((refclassid = 'pg_class'::regclass AND refobjid = {oid})
        OR (refclassid = 'pg_type'::regclass AND refobjid IN (
            SELECT t.oid FROM pg_type AS t WHERE t.typrelid = {oid} UNION ALL
            SELECT t.typarray FROM pg_type AS t WHERE t.typrelid = {oid})))
    AND classid NOT IN ('pg_rewrite'::regclass, 'pg_policy'::regclass, 'pg_constraint'::regclass,
        'pg_publication_rel'::regclass, 'pg_trigger'::regclass, 'pg_attrdef'::regclass,
        'pg_statistic_ext'::regclass)
    AND NOT (classid = 'pg_class'::regclass
        AND objid IN (SELECT indexrelid FROM pg_index WHERE indrelid = {oid})))
"""


def swap_blockers(session: session_module.Session, relation: Relation) -> tuple[str, ...]:
    """Return why replacing the table would lose or break something, one phrase each."""
    found = session.rows(_BLOCKERS.format(oid=relation.oid))
    # Null: what it names has just gone.
    return tuple(str(phrase) for (phrase,) in found if phrase is not None)


def _change_blockers(session: session_module.Session, relation: Relation) -> tuple[str, ...]:
    """Return why the server refuses to update and delete rows: nobody could be told which."""
    found = session.rows(
        "SELECT string_agg(p.pubname, ', ' ORDER BY p.pubname)"
        " FROM pg_publication AS p JOIN pg_publication_tables AS t ON t.pubname = p.pubname"
        " JOIN pg_namespace AS n ON n.nspname = t.schemaname"
        " JOIN pg_class AS c ON c.relnamespace = n.oid AND c.relname = t.tablename"
        f" WHERE c.oid = {relation.oid} AND (p.pubupdate OR p.pubdelete)"
        " AND c.relkind = 'r' AND c.relreplident <> 'f' AND NOT EXISTS (SELECT FROM pg_index"
        " WHERE indrelid = c.oid AND CASE c.relreplident WHEN 'd' THEN indisprimary"
        " WHEN 'i' THEN indisreplident ELSE false END)"
    )
    return tuple(
        f"publication {names} publishes its updates and deletes, and it has no replica identity"
        " (ALTER TABLE … REPLICA IDENTITY FULL, or give it a primary key)"
        for (names,) in found
        if names is not None
    )


# Each line: one fact that an ALTER, a COMMENT or a GRANT changes, and whether the copy takes it
# over right before the swap rather than when it is made.
_FACTS = """
SELECT false, jsonb_build_array('table', c.relpersistence, c.relam, c.reltablespace, c.reloptions,
    t.reloptions) FROM pg_class AS c LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid
    WHERE c.oid = {oid}
UNION ALL SELECT true, jsonb_build_array('table', relowner, relacl, relreplident,
    obj_description(oid, 'pg_class')) FROM pg_class WHERE oid = {oid}
UNION ALL SELECT false, jsonb_build_array('column', attnum, attname,
    format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated, attcollation,
    attstorage, to_jsonb(a) ->> 'attcompression', coalesce(attstattarget, -1),
    ARRAY(SELECT o FROM unnest(attoptions) AS o WHERE NOT starts_with(o, 'pg_attver=')),
    pg_get_expr(adbin, adrelid), col_description(attrelid, attnum))
    FROM pg_attribute AS a LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum
    WHERE attrelid = {oid} AND attnum > 0 AND NOT attisdropped
UNION ALL SELECT true, jsonb_build_array('column', attname, attacl) FROM pg_attribute
    WHERE attrelid = {oid} AND attacl IS NOT NULL
UNION ALL SELECT false, jsonb_build_array('constraint', conname, pg_get_constraintdef(oid),
    convalidated, obj_description(oid, 'pg_constraint')) FROM pg_constraint
    WHERE conrelid = {oid}
UNION ALL SELECT false, jsonb_build_array('index', pg_get_indexdef(indexrelid), indisclustered,
    indisreplident, indisvalid, c.reltablespace, obj_description(c.oid, 'pg_class'),
    ARRAY(SELECT coalesce(attstattarget, -1) FROM pg_attribute WHERE attrelid = c.oid
        ORDER BY attnum))
    FROM pg_index JOIN pg_class AS c ON c.oid = indexrelid WHERE indrelid = {oid}
UNION ALL SELECT false, jsonb_build_array('trigger', pg_get_triggerdef(oid), tgenabled)
    FROM pg_trigger WHERE tgrelid = {oid} AND NOT tgisinternal
UNION ALL SELECT false, jsonb_build_array('statistics', pg_get_statisticsobjdef(oid),
    to_jsonb(x) ->> 'stxstattarget', obj_description(oid, 'pg_statistic_ext'))
    FROM pg_statistic_ext AS x WHERE stxrelid = {oid}
UNION ALL SELECT d.deptype = 'a', jsonb_build_array('sequence', s.relname, d.refobjsubid, s.relacl,
    obj_description(s.oid, 'pg_class'),
    q.seqtypid, q.seqstart, q.seqincrement, q.seqmax, q.seqmin, q.seqcache, q.seqcycle)
    FROM pg_depend AS d JOIN pg_class AS s ON s.oid = d.objid AND s.relkind = 'S'
    JOIN pg_sequence AS q ON q.seqrelid = s.oid
    WHERE d.classid = 'pg_class'::regclass AND d.refclassid = 'pg_class'::regclass
    AND d.refobjid = {oid} AND d.deptype IN ('a', 'i')
"""


@dataclasses.dataclass(frozen=True)
class Definition:
    """Digests of what a table is, its rows and its number left out.

    Attributes:
        copied: of what its shadow has since it was made.
        handed_over: of what the shadow gets right before the swap.
    """

    copied: str
    handed_over: str


def definition(session: session_module.Session, relation: Relation) -> Definition:
    """Return the digests of everything that a swap carries over, by one query."""
    facts = _FACTS.format(oid=relation.oid)
    digest = "md5(string_agg(fact::text, chr(10) ORDER BY fact::text) FILTER (WHERE {}))"
    copied, handed_over = session.rows(
        f"SELECT {digest.format('NOT is_late')}, {digest.format('is_late')}"
        f" FROM ({facts}) AS facts (is_late, fact)"
    )[0]
    return Definition(str(copied), str(handed_over))


def parents(session: session_module.Session, relation: Relation) -> frozenset[str]:
    """Return the other tables of its schema that a table's foreign keys refer to."""
    found = session.rows(
        "SELECT DISTINCT p.relname FROM pg_catalog.pg_constraint AS c"
        " JOIN pg_catalog.pg_class AS p ON p.oid = c.confrelid"
        " JOIN pg_catalog.pg_class AS t ON t.oid = c.conrelid AND t.relnamespace = p.relnamespace"
        f" WHERE c.conrelid = {relation.oid} AND c.contype = 'f' AND c.confrelid <> c.conrelid"
    )
    return frozenset(str(name) for (name,) in found)


_FOREIGN_KEYS = """
SELECT conname,
    ARRAY(SELECT attname::text FROM unnest(CASE WHEN is_incoming THEN confkey ELSE conkey
        END) WITH ORDINALITY AS k (n, at) JOIN pg_attribute ON attrelid = {oid} AND attnum = k.n
        ORDER BY k.at), other::regclass::text,
    ARRAY(SELECT attname::text FROM unnest(CASE WHEN is_incoming THEN conkey ELSE confkey
        END) WITH ORDINALITY AS k (n, at) JOIN pg_attribute ON attrelid = other AND attnum = k.n
        ORDER BY k.at), is_incoming,
    CASE WHEN conrelid = confrelid THEN 'it refers to its own table'
        WHEN NOT convalidated THEN 'it is not validated'
        WHEN is_incoming AND confdeltype NOT IN ('a', 'r') THEN 'it changes rows of the other table'
        END
FROM (SELECT *, confrelid = {oid} AS is_incoming,
        CASE WHEN confrelid = {oid} THEN conrelid ELSE confrelid END AS other
    FROM pg_constraint WHERE contype = 'f' AND conparentid = 0
    AND {oid} IN (conrelid, confrelid)) AS found ORDER BY conname
"""


def foreign_keys(session: session_module.Session, relation: Relation) -> list[base.ForeignKey]:
    """Return the foreign keys of a table and those to it."""
    found = session.rows(_FOREIGN_KEYS.format(oid=relation.oid))
    return [
        base.ForeignKey(name, tuple(columns), other, tuple(others), is_incoming, obstacle)
        for name, columns, other, others, is_incoming, obstacle in found
        # Null: it has just gone.
        if other is not None
    ]
