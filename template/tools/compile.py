"""`make compile`: the pipelines as an environment's Kubeflow takes them.

Two files each: KFP's intermediate representation, which `make submit` uploads, and the same as
Kubernetes objects, for those who keep pipelines in a GitOps repository.
"""

import gc
import hashlib
import tempfile
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from tools import images, screen
from tools.definition import load
from tools.imports import steps_of
from tools.project import ROOT, project

FOLDER = "artifacts/compiled"
VERSION_LENGTH = 12


class Compiled(NamedTuple):
    """A pipeline in KFP's intermediate representation (YAML)."""

    name: str
    """What KFP calls the pipeline."""
    text: str

    @property
    def version(self) -> str:
        """The name of the pipeline's version: equal content has an equal name."""
        return f"{self.name}-{hashlib.sha256(self.text.encode()).hexdigest()[:VERSION_LENGTH]}"


def compile_all(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = "local",
    pipeline: Annotated[str, typer.Option(help="A file of pipelines/; empty: all of them.")] = "",
) -> None:
    """Write pipelines as this environment's Kubeflow takes them."""
    # A short process, most of it imports, of which collecting garbage would be a tenth.
    gc.disable()
    wanted = [pipeline] if pipeline else project().pipelines
    images.prefetch(sorted({step for name in wanted for step in steps_of(name)}))
    environment = project().environment(env)
    table = Table("file", "version", box=None, pad_edge=False, header_style="dim")
    folder = ROOT / FOLDER / env
    folder.mkdir(parents=True, exist_ok=True)
    for name in wanted:
        definition = load(name, environment)
        made = compiled(definition)
        files = {
            f"{name}.yaml": made.text,
            f"{name}.kubernetes.yaml": manifests(definition, made, environment.namespace),
        }
        for file, text in files.items():
            (folder / file).write_text(text)
            table.add_row(f"{FOLDER}/{env}/{file}", made.version.rpartition("-")[2])
    screen.console.print(table)
    if environment.namespace:
        screen.what_next(f"`make submit ENV={env}` runs the training pipeline on the cluster.")
    else:
        screen.what_next("Upload one in KFP's pages, or give ENV= an environment with a cluster.")


def compiled(definition: Any) -> Compiled:
    """Compile a pipeline: the same bytes for the same pipeline, wherever and whenever."""
    return Compiled(definition.name, _written(definition))


def manifests(definition: Any, made: Compiled, namespace: str) -> str:
    """The Kubernetes objects of a pipeline and of this version of it (YAML)."""
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_version_name=made.version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    return _written(
        definition, kubernetes_manifest_format=True, kubernetes_manifest_options=options
    )


def _written(definition: Any, **options: Any) -> str:
    from kfp.compiler import Compiler

    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder) / "pipeline.yaml"
        Compiler().compile(definition, str(target), **options)
        return target.read_text()


if __name__ == "__main__":
    screen.start(compile_all)
