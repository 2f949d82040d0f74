"""`make release`: put a registered model in an environment.

Where there is no cluster, it is the champion of the model store from now on. Elsewhere a release is
a commit (tools/released.py), and `make deploy` makes it so: the model is copied to the
environment's store and verified there before the commit, so none names what is not there.
"""

import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Annotated, Any

import typer
from rich.table import Table

from runtime import models, served
from runtime.errors import ProjectError
from runtime.records import ModelRecord
from runtime.served import Found
from runtime.store import model_id
from tools import images, published, registry, released, screen
from tools.commit import author
from tools.environment import Environment
from tools.project import ROOT, project
from tools.released import Release

LOCAL = "local"
REGISTERING = "register"
"""The step that sees the model store, on a volume say."""


@dataclass(frozen=True)
class Candidate:
    """What is to be released."""

    model: str
    sha256: str
    image: str
    """That it was tried with; empty: the one of this checkout."""
    run: str
    """The one that trained it, if this is known."""
    reason: str
    """Why, if nobody says."""


def release(
    env: Annotated[str, typer.Option(help="A file of config/environments/.")] = LOCAL,
    run: Annotated[str, typer.Option(help="A model's id or a run's; empty: the newest.")] = "",
    reason: Annotated[str, typer.Option(envvar="REASON", help="Why, for the history.")] = "",
) -> None:
    """Verify the model, release it, and show it beside the one before."""
    environment = project().environment(env)
    if not environment.namespace:
        here(env, run)
        return
    with released.turn(env) as turn:
        wanted = candidate(env, run)
        image = image_of(env, environment, wanted.image) if released.serves(env) else ""
        uri = uri_of(environment, env, wanted.model)
        record = brought(env, wanted.sha256)
        if image and published.cleaned_up(image):
            published.keep(image)
        if image:
            keep_answers(env, record, image)
        new = Release(
            model_uri=uri,
            model=record.model_id,
            sha256=record.sha256,
            image=image,
            run=wanted.run,
            metrics=json.dumps(record.metrics),
            released_at=released.now(),
            released_by=author(),
            reason=reason or wanted.reason,
        )
        before = turn.current
        if before and before.same(new) and before.model_uri == uri:
            screen.console.print(
                f"Model {new.model} is already released in {env}, since {before.released_at[:16]}."
            )
        else:
            turn.commit(new, message(f"Release {new.model} in {env}", new, before))
            show(env, new, before)
    following(env)


def here(env: str, run: str) -> None:
    """Release in an environment that has no cluster: at once, in its model store."""
    store = registry.store(env)
    model = registry.named(env, run) if run else registry.newest(env)
    with tempfile.TemporaryDirectory() as folder:
        served.fetched(store, model.model_id, Path(folder))
    before = store.champion()
    if before == model.sha256:
        screen.console.print(f"Model {model.model_id} is already released in {env}.")
    else:
        store.release(model.model_id)
        known = store.find(model_id(before)) if before else None
        old = (known.model_id, known.metrics) if known else None
        screen.console.print(beside((model.model_id, model.metrics), old))
        instead = f", instead of {model_id(before)}" if before else "; none was before"
        screen.console.print(f"Model {model.model_id} is released in {env}{instead}.")
    if (ROOT / "tools" / "serve.py").exists():
        screen.what_next("`make serve` answers requests with it; `make predict` asks it.")
    if (ROOT / "pipelines" / "batch_prediction.py").exists():
        screen.what_next("`make run PIPELINE=batch_prediction` predicts for a whole table.")
    screen.what_next("`make run` compares what it trains with it from now on.")


def places(env: str) -> list[str]:
    """The environments whose model stores a release may take a model from: the nearest first."""
    found = [env]
    while earlier := released.before(found[-1]):
        found.append(earlier)
    return [*found, *({LOCAL} & {*project().environments} - {*found})]


def candidate(env: str, run: str) -> Candidate:
    """The model that is named, or the newest; after the first environment, of those tried before.

    Raises:
        ProjectError: there is none, or it was not tried.
    """
    earlier = released.before(env)
    if not earlier:
        found = places(env)
        record = registry.named_of(found, run) if run else registry.newest_of(found)
        model = record.model_id
        by = run if run not in ("", model) else registry.run_of(found, model)
        return Candidate(model, record.sha256, "", by, record.reason)
    tried = released.standing(earlier)
    if not tried:
        raise ProjectError(
            f"nothing is released in {earlier} yet, and {env} takes what is: "
            f"`make release ENV={earlier}` comes first"
        )
    name = registry.model_of(places(env), run) if run else tried[-1].model
    wanted = next((each for each in reversed(tried) if name in (each.model, each.run)), None)
    if wanted is None:
        known = ", ".join(dict.fromkeys(each.model for each in reversed(tried)))
        back = any(past.release.model == name for past in released.history(earlier))
        why = f"was taken back in {earlier}" if back else f"is not released in {earlier}"
        raise ProjectError(
            f"RUN={run!r} {why}, and {env} takes what is released there: {known}. "
            f"`make release ENV={earlier} RUN={run}` comes first"
        )
    why = f"tried in {earlier} since {wanted.released_at[:10]}"
    return Candidate(wanted.model, wanted.sha256, wanted.image, wanted.run, why)


def image_of(env: str, environment: Environment, tried: str) -> str:
    """The image of the server, by its digest: the one that was tried, or this checkout's.

    What was tried elsewhere is copied to the environment's registry, where this lacks it.

    Raises:
        ProjectError: the environment's registry does not have it, and it cannot be copied there.
    """
    if not environment.registry:
        raise ProjectError(
            f"the environment {env!r} has no registry, from which its nodes would pull the image "
            f"of the server: give `registry` in config/environments/{env}.yaml"
        )
    with screen.console.status(f"Asking {environment.registry}"):
        if not tried:
            reference = images.image(images.SERVING, environment.registry)
            digest = published.digest(reference)
            if not digest:
                raise ProjectError(
                    f"the registry has no {reference}, the image of this checkout's code: "
                    f"`make images ENV={env} IMAGE={images.SERVING} PUSH=1` builds and pushes it "
                    "(in CI, after a commit)"
                )
            return f"{reference.rpartition(':')[0]}@{digest}"
        digest = tried.partition("@")[2]
        own = f"{environment.registry.rstrip('/')}/{images.repository(images.SERVING)}@{digest}"
        if published.digest(own):
            return own
    if own == tried:
        raise ProjectError(
            f"the registry has no {own} any more: `make release ENV={released.before(env)}` with "
            "an image that it has"
        )
    with screen.console.status(f"Copying the image from {tried.partition('@')[0]}"):
        published.copy(tried, own)
    return own


def uri_of(environment: Environment, env: str, model: str) -> str:
    """Where the server finds the model: in a bucket, or on a volume that has a claim.

    Raises:
        ProjectError: in a folder that a cluster does not see.
    """
    store = environment.model_store.rstrip("/")
    if "://" in store or not released.serves(env):
        return f"{store}/{model}"
    for volume in environment.execution(REGISTERING).volumes:
        if volume.claim and PurePosixPath(store).is_relative_to(volume.mount):
            within = PurePosixPath(store, model).relative_to(volume.mount)
            return f"pvc://{volume.claim}/{within}"
    raise ProjectError(
        f"model_store is {store!r}, a folder that the server does not see on a cluster: give a "
        f"URI such as s3://… or gs://… in config/environments/{env}.yaml, or the claim of the "
        "volume that it is on, by `every_step.volumes`"
    )


def brought(env: str, sha256: str) -> ModelRecord:
    """See to it that the environment's own store has the model, by its bytes as they are read back.

    Raises:
        ProjectError: no store has it, it was changed, or the store cannot be written.
    """
    model, uri = model_id(sha256), project().environment(env).model_store
    target = registry.store(env)
    with tempfile.TemporaryDirectory() as name, screen.console.status(f"Verifying {model}") as said:
        copy, back = Path(name, "copy"), Path(name, "back")
        with registry.asking(uri):
            known = target.find(model)
        if known is None:
            source = holder(places(env)[1:], model)
            said.update(f"Copying {model} from {source} to {env}")
            with registry.asking(project().environment(source).model_store):
                registry.store(source).download(model, copy)
            verify(copy, sha256, source)
            with registry.asking(uri, "written"):
                target.put(copy)
        with registry.asking(uri):
            target.download(model, back)
        verify(back, sha256, env)
        if known is None:
            with registry.asking(uri, "written"):
                known = target.enter(served.from_folder(copy).record)
    return known


def holder(candidates: list[str], model: str) -> str:
    """The first environment whose store has a model.

    Raises:
        ProjectError: none has.
    """
    for place in candidates:
        with registry.asking(project().environment(place).model_store):
            if registry.store(place).find(model):
                return place
    raise ProjectError(
        f"the model {model} is in none of the model stores of {', '.join(candidates)} any more: "
        "`make run` trains one"
    )


def verify(folder: Path, sha256: str, env: str) -> None:
    """Compare a downloaded model with its hash."""
    try:
        models.verify(folder / "model", sha256=sha256)
    except ProjectError:
        model, store = model_id(sha256), project().environment(env).model_store
        raise ProjectError(
            f"the model {model} in {store} is not what was registered: its bytes do not have the "
            f"SHA-256 {sha256}. Nothing was released. Find out who changed it, and remove "
            f"{store}/{model}"
        ) from None


def keep_answers(env: str, record: ModelRecord, image: str) -> None:
    """Keep beside the model what the image answers to its sample, for `make smoke` to compare.

    The code that answers is this checkout's, of which the image's tag is the hash; an image that
    was tried before brings its answers along.
    """
    model, uri = record.model_id, project().environment(env).model_store
    target = registry.store(env)
    with registry.asking(uri):
        if target.answers(model, image) or not target.sample(model):
            return
    earlier = released.before(env)
    if earlier:
        with registry.asking(project().environment(earlier).model_store):
            rows = registry.store(earlier).answers(model, image)
    else:
        with tempfile.TemporaryDirectory() as folder, screen.console.status("Asking the model"):
            with registry.asking(uri):
                found = served.fetched(target, model, Path(folder))
            rows = answers(found)
    if rows:
        with registry.asking(uri, "written"):
            target.keep_answers(model, image, rows)


def answers(found: Found) -> list[dict[str, Any]]:
    """What this checkout's server answers to the sample of a model, a row for each.

    Raises:
        ProjectError: the model does not fit the code.
    """
    # Late: they take longer than all the rest.
    from runtime import protocols, server
    from serving import predictor

    model = server.Server(project().name, predictor, found)
    answer = protocols.write_v1(model.answers, model.name, model.version)
    rows: list[dict[str, Any]] = json.loads(answer)["predictions"]
    return rows


def message(subject: str, new: Release, before: Release | None) -> str:
    """What the commit says: read by people, in `git log`."""
    lines = [subject, "", f"Why: {new.reason}"]
    lines += [f"Instead of {before.model}, released {before.released_at}."] if before else []
    for name, value in new.scores.items():
        old = before.scores.get(name) if before else None
        lines.append(f"{name}: {value:.4f}" + (f" (before: {old:.4f})" if old is not None else ""))
    return "\n".join(lines)


def show(env: str, new: Release, before: Release | None) -> None:
    """The metrics beside those before, and what changes with the commit."""
    old = (before.model, before.scores) if before else None
    screen.console.print(beside((new.model, new.scores), old))
    screen.console.print(f"\n{released.path(env)}", style="bold")
    for name in ("model_uri", "image"):
        was, is_now = getattr(before, name, ""), getattr(new, name)
        if was and was != is_now:
            screen.console.print(f"- {name}: {was}", style="red", soft_wrap=True)
        if is_now and was != is_now:
            screen.console.print(f"+ {name}: {is_now}", style="green", soft_wrap=True)
    instead = f", instead of {before.model}" if before else "; none was before"
    text = f"\nModel {new.model} is released in {env}{instead}. It is a commit."
    screen.console.print(text, soft_wrap=True)


def following(env: str) -> None:
    """What to do after a release of a cluster's environment."""
    if released.serves(env):
        screen.what_next(f"`make diff ENV={env}` shows what that changes on the cluster.")
    screen.what_next(
        f"`git push`, and `make deploy ENV={env}` makes it so; `make rollback ENV={env}` takes it "
        "back."
    )


def beside(
    new: tuple[str, Mapping[str, float]], before: tuple[str, Mapping[str, float]] | None
) -> Table:
    """The metrics of two models, by their ids, as they were when each was registered."""
    table = Table("metric", box=None, pad_edge=False, header_style="dim")
    model, metrics = new
    table.add_column(model, justify="right")
    if before:
        table.add_column(f"before: {before[0]}", justify="right")
    for name, value in metrics.items():
        cells = [f"{value:.4f}"]
        if before:
            cells.append(f"{before[1][name]:.4f}" if name in before[1] else "")
        table.add_row(name, *cells)
    return table


if __name__ == "__main__":
    screen.start(release)
