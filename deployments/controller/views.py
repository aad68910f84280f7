"""Base of what the control API shows."""

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """Something shown: immutable, and described in the OpenAPI page by its docstrings."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
