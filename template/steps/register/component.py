"""Keep a candidate that is worth releasing. Registering releases nothing."""

from kfp import dsl
from kfp.dsl import Dataset, Input, Metrics, Model

from tools.images import image


@dsl.component(base_image=image("register"), install_kfp_package=False)
def register(
    model: Input[Model],
    train_data: Input[Dataset],
    test_data: Input[Dataset],
    metrics: Input[Metrics],
    champion: str,
    model_store: str,
    lineage: str,
    settings: str,
) -> str:
    """Copy the model into the model store with its record, and return its id."""
    import json
    from pathlib import Path

    from runtime.records import Data, Lineage
    from runtime.store import ModelStore
    from steps.register.settings import StepSettings

    record = ModelStore(model_store).register(
        Path(model.path),
        sha256=model.metadata["sha256"],
        data=Data.of(train_data.metadata, test_data.metadata),
        summary=json.loads(Path(metrics.path).read_text()),
        champion=champion,
        lineage=Lineage.from_json(lineage),
        note=StepSettings.from_json(settings).note,
    )
    return record.model_id
