"""What all models of the config share."""

from __future__ import annotations

from typing import Annotated, ClassVar

import pydantic
from pydantic import BeforeValidator, Field

from tmg_etl.config import rule

Name = Annotated[str, Field(min_length=1), BeforeValidator(rule.name)]
Names = Annotated[list[Name], BeforeValidator(rule.distinct)]
Number = Annotated[float, Field(ge=0, allow_inf_nan=False), BeforeValidator(rule.not_bool)]


class Strict(pydantic.BaseModel):
    """Base of all models: frozen; an unknown key is an error."""

    model_config = pydantic.ConfigDict(
        frozen=True, extra="forbid", populate_by_name=True, hide_input_in_errors=True
    )
    hidden: ClassVar[frozenset[str]] = frozenset()
