"""No secret is shown: not by `show`, not by repr, not in messages."""

import json

import pytest
import yaml

from tmg_etl import errors
from tmg_etl.config import interpolation, loader, model, schema

SECRET = "h3iml!ch"
TEXT = """\
connections:
  literal: {type: mysql, url: "mysql://u:h3iml!ch@h/d"}
  variable: {type: mysql, url: "mysql://u:${DB_PASSWORD}@h/d?ssl=1"}
  whole: {type: postgres, url: "${URL}"}
  query: {type: postgres, url: "postgresql://h/d?user=u&password=h3iml!ch&sslmode=require"}
  options: {type: postgres, url: "postgresql://h/d", options: {password: h3iml!ch, user: u}}
ledger: "postgresql://u:${secret:ledger}@h/d"
transfers:
  plane:
    source: {connection: literal, table: planes}
    target: {connection: variable, table: plane}
    description: "${API_TOKEN} and ${PLAIN}"
    options: {list: [{api: "${api_key:-h3iml!ch}"}]}
environments:
  prod: {connections: {literal: {url: "mysql://u:h3iml!ch@prod/d"}}}
"""


@pytest.fixture
def config(load, tmp_path) -> model.Config:
    (tmp_path / "ledger").write_text(SECRET)
    environ = {
        "TMG_ETL_SECRETS_DIR": str(tmp_path),
        "DB_PASSWORD": SECRET,
        "URL": f"postgresql://u:{SECRET}@h/d",
        "API_TOKEN": SECRET,
        "PLAIN": "plain",
    }
    return load(TEXT, environ=environ)


def test_values_are_real(config):
    assert config.connections["options"].options["password"] == SECRET
    assert config.transfer("plane").description == f"{SECRET} and plain"
    assert config.transfer("plane").options == {"list": [{"api": SECRET}]}


def test_show_masks_every_secret(config):
    shown = schema.show(config)
    text = json.dumps(shown)
    assert SECRET not in text
    assert "h3iml" not in text
    connections = shown["connections"]
    assert connections["literal"]["url"] == "mysql://u:***@h/d"
    assert connections["variable"]["url"] == "mysql://u:***@h/d?ssl=1"
    assert connections["whole"]["url"] == "postgresql://u:***@h/d"
    assert connections["query"]["url"] == "postgresql://h/d?user=u&password=***&sslmode=require"
    assert connections["options"]["options"] == {"password": "***", "user": "u"}
    assert shown["ledger"] == "postgresql://u:***@h/d"
    assert shown["transfers"]["plane"]["description"] == "*** and plain"
    assert shown["transfers"]["plane"]["options"] == {"list": [{"api": "***"}]}


def test_show_is_a_config_with_all_defaults(load, base):
    config = load(base)
    shown = schema.show(config)
    assert "environments" not in shown
    again = load(yaml.safe_dump(shown, sort_keys=False))
    assert again.transfers == config.transfers
    assert again.connections == config.connections
    assert list(shown["transfers"]["dim_plane"])[:2] == ["description", "source"]


def test_repr_holds_no_secret(config):
    for item in (config, *config.connections.values(), *config.transfers.values()):
        assert SECRET not in f"{item!r} {item}"


def test_redact_removes_secrets_from_foreign_text(config):
    text = config.redact(f"access denied using {SECRET} at h3iml%21ch mysql://x:y@z")
    assert text == "access denied using *** at *** mysql://x:***@z"


def test_short_secrets_do_not_tear_words(load):
    config = load('connections: {a: {type: mysql, url: "mysql://u:a@h/d"}}\n')
    assert config.redact("a table") == "a table"
    config = load('connections: {a: {type: mysql, url: "mysql://u:sid@h/d"}}\n')
    assert config.redact("sid_dim_agent: using 'sid'") == "sid_dim_agent: using '***'"


def test_messages_hold_no_secret(load, base):
    with pytest.raises(errors.ConfigError) as caught:
        load(base + "    batch_rows: ${MY_KEY}\n", environ={"MY_KEY": SECRET})
    assert SECRET not in str(caught.value)
    assert "found '***', expected a whole number" in str(caught.value)
    for text in (
        f"connections: {{a: {{type: mysql, url: 'mysql://u:{SECRET}@h:x/d'}}}}",
        f"ledger: 'postgresql://u:{SECRET}@h:x/d'",
        f"connections: {{a: {{type: '{interpolation.MASK}', url: 'mysql://u:{SECRET}@h/d'}}}}",
        f"defaults: {{verify: 'mysql://u:{SECRET}@h/d'}}",
        f"transfers: 'mysql://u:{SECRET}@h/d'",
        f"'mysql://u:{SECRET}@h/d'",
        f"a: mysql://u:*{SECRET}@h/d: x",
        f"connections: {{a: {{type: mysql, url: *{SECRET}}}}}",
    ):
        with pytest.raises(errors.ConfigError) as caught:
            load(text)
        assert SECRET not in str(caught.value)


# --- the schema for editors


def test_schema_describes_every_key():
    document = schema.json_schema()
    assert document["$schema"] == "https://json-schema.org/draft/2020-12/schema"
    for part in (document, *document["$defs"].values()):
        assert part["additionalProperties"] is False
        for name, rule in part["properties"].items():
            assert rule.get("description"), name


def test_schema_knows_what_the_loader_knows():
    document = schema.json_schema()
    transfer = document["$defs"]["Transfer"]
    assert transfer["required"] == ["source", "target"]
    assert "schema" in transfer["properties"]
    assert not {"name", "schema_"} & set(transfer["properties"])
    assert set(document["$defs"]["FilesConnection"]["properties"]) == {
        "type",
        "url",
        "credentials",
    }
    overlay = document["properties"]["environments"]["additionalProperties"]
    assert set(overlay["properties"]) == {
        "connections",
        "ledger",
        "defaults",
        "transfers",
        "packages",
    }
    assert "required" not in document["$defs"]["TransferOverlay"]


def test_schema_allows_references_and_the_word_off():
    document = schema.json_schema()
    verify = document["$defs"]["Transfer"]["properties"]["verify"]["anyOf"]
    assert {"const": False} in verify
    for name in ("verify", "batch_rows", "lock_wait_s", "on_empty"):
        choices = document["$defs"]["Transfer"]["properties"][name]["anyOf"]
        assert {"type": "string", "pattern": r"\$\{"} in choices


def test_schema_references_resolve():
    document = schema.json_schema()

    def references(value):
        if isinstance(value, dict):
            yield from ([value["$ref"]] if isinstance(value.get("$ref"), str) else [])
            for item in value.values():
                yield from references(item)
        elif isinstance(value, list):
            for item in value:
                yield from references(item)

    found = set(references(document))
    assert found
    assert {reference.removeprefix("#/$defs/") for reference in found} <= set(document["$defs"])


def test_environments_are_kept_as_written(config):
    assert set(config.environments) == {"prod"}
    assert loader.environments("config.yaml") == ["local", "prod"]
