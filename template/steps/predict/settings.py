"""What `predict` can be told in config/project.yaml."""

from pydantic import Field

from runtime.settings import Settings


class StepSettings(Settings):
    """Where predictions go, and what stands beside them."""

    output: str = "artifacts/predictions"
    """Folder or URI; a folder per version of the data and model is made below it."""
    keep: list[str] = Field(default_factory=list)
    """Columns of the table that are copied, such as the customer's number."""
