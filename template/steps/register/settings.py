"""What `register` can be told in config/project.yaml."""

from runtime.settings import Settings


class StepSettings(Settings):
    """What is written beside the model."""

    note: str = ""
    """One line for the record: why this run."""
