"""What `validate` can be told in config/project.yaml."""

from pydantic import Field

from runtime.settings import Settings


class StepSettings(Settings):
    """How much wrong data is still acceptable."""

    min_rows: int = Field(default=1, ge=1)
    """Fewer examples than this are an error."""
