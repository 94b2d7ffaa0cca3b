"""The typed configuration: what a YAML file says, checked, with the place of every value.

Belongs here: reading a config file from its place, environments, interpolation, the models, the
JSON Schema, masking for print. Files are read here and nothing else: no database, no network.

Not here: opening connections (`tmg_etl.connectors`), importing a transfer's `pipeline` class
(`tmg_etl.transfer`), command lines (`tmg_etl.cli`). May import `tmg_etl.errors` only.

The way of a value: `place` (text) → `tree` (nodes with lines) → `environment` (merged) →
`interpolation` (variables filled in) → `model` (typed). `loader.load` is the door.
"""
