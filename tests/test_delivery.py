"""`make deliver`, `propose-release`, `propose-update`, `scan`, `login`, signed images: by real tools.

A project's releases are real commits, its registry and engine are real, and its InferenceService is
one of a real API server. `cosign`, `trivy`, `aws` and `gcloud` are played (tests/test_automation.py).
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import engine
import pytest
import yaml
from conftest import Template, commit, git
from projects import Generated, flavour, life, machine, restored
from pytest_copie.plugin import Copie
from test_automation import Played
from test_deploy import ready, url_of
from test_deploy import release as release_by_hand
from test_deploy import site as deployed  # noqa: F401 # a fixture
from test_images import images, in_state, push_to
from test_make_update import NEXT
from test_make_update import project as updatable  # noqa: F401 # a fixture
from test_releases import Site, trained
from test_releases import site as site  # noqa: PLC0414 # a fixture

from scripts.serving_proof import serving

pytestmark = pytest.mark.project
LAPTOP = flavour("laptop")


def proposal(project: Generated) -> dict[str, str]:
    """Return what is proposed, by the names of its files."""
    folder = project.path / "artifacts/proposal"
    return {
        path.name: path.read_text("utf-8") for path in folder.glob("*") if path.suffix != ".bundle"
    }


def unpacked(project: Generated, base: str, to: Path) -> str:
    """Fetch the proposed commits into a clone of what was there before; return the subjects."""
    git(to.parent, "clone", "--quiet", str(project.path), str(to))
    git(to, "reset", "--quiet", "--hard", base)
    bundle = project.path / "artifacts/proposal/commits.bundle"
    git(to, "fetch", "--quiet", str(bundle), "refs/proposal")
    git(to, "merge", "--quiet", "--ff-only", "FETCH_HEAD")
    return git(to, "log", "--reverse", "--format=%s", f"{base}..HEAD")


@pytest.mark.parametrize("site", [LAPTOP], indirect=True)
def test_a_release_is_proposed(site: Site, tmp_path: Path) -> None:
    """As the job does on main: dev's release and staging's, one pull request; then nothing new."""
    site.push()
    base, model = site.head.strip(), trained(site.project)
    site.make("release", "ENV=dev").succeeded()
    site.make("propose-release", "ENV=staging", f"SINCE={base}", "REASON=it is \"good\"").succeeded()
    said = proposal(site.project)
    digest = site.released("staging")["image"].rpartition(":")[2]
    assert said["name"] == f"{model}-{digest[:12]}\n"
    assert said["title"] == f"Release {model} in staging\n"
    assert 'Why: it is "good"' in said["body.md"]
    assert "make deliver ENV=staging" in said["body.md"]
    subjects = unpacked(site.project, base, tmp_path / "clone").splitlines()
    assert subjects == [f"Release {model} in dev", f"Release {model} in staging"]

    def changed(since: str) -> Any:
        done = site.make("released-since", f"SINCE={since}", "JSON=1").succeeded()
        return json.loads(done.out)

    assert changed(base) == ["dev", "staging"]
    assert changed(site.head.strip()) == []
    assert changed(f"{site.head.strip()}~") == ["staging"]
    # A new branch, and one that was written anew.
    assert changed("0" * 40) == changed("1" * 40) == ["dev", "staging"]
    done = site.make("propose-release", "ENV=staging").succeeded()
    assert "nothing to propose" in done.out
    assert not proposal(site.project)
    site.make("propose-release", "ENV=local").failed("no cluster", "make release ENV=local")
    site.make("propose-release", "ENV=staging", "SINCE=ducks").failed("ducks")


@pytest.mark.kubernetes
@pytest.mark.parametrize("deployed", [LAPTOP], indirect=True)
def test_a_release_that_does_not_serve(deployed: Site, tmp_path: Path) -> None:
    """What was before is deployed again, at once; git is told by a pull request."""
    site, model = deployed, trained(deployed.project)
    first = site.make("deliver", "ENV=dev", "WAIT=1")
    first.failed(model, "does not serve in dev", "no release is before it", "KServe has not looked")
    assert not proposal(site.project)
    with serving(site.project.path, "--env", "dev", "--run", model) as server:
        ready(site, url_of(server))
        site.make("deliver", "ENV=dev").succeeded()
        other = site.retrain(2.0)
        release_by_hand(site, other)
        base = site.head.strip()
        done = site.make("deliver", "ENV=dev", "WAIT=1")
        done.failed(f"{other} does not serve in dev, which is back at {model}")
        assert f"serves model {model}" in done.out
    assert site.released("dev")["takes_back"] == other
    said = proposal(site.project)
    assert said["title"] == f"Roll back dev to {model}\n"
    assert f"{other} was deployed in dev and did not serve" in said["body.md"]
    assert unpacked(site.project, base, tmp_path / "clone") == f"Roll back dev to {model}\n"

    # Nobody is there to go back to: nothing is committed, and nothing is proposed.
    release_by_hand(site, other)
    head = site.head
    done = site.make("deliver", "ENV=dev", "WAIT=1")
    done.failed(f"{other} does not serve in dev", "going back failed too")
    site.nothing_happened(head)
    assert not proposal(site.project)


@pytest.mark.parametrize("name", [LAPTOP])
def test_an_update_is_proposed(
    updatable: Generated, draft: Template, tmp_path: Path  # noqa: F811 # the fixture
) -> None:
    """With the report; with conflicts as a draft that says so; and nothing when nothing is newer."""
    project = updatable
    assert "nothing to propose" in project.make("propose-update").succeeded().out
    makefile = draft.path / "template/Makefile.jinja"
    text = makefile.read_text("utf-8")
    makefile.write_text(text.replace("# The project's verbs.", "# The verbs."), encoding="utf-8")
    commit(draft.path, tag=NEXT)
    base = git(project.path, "rev-parse", "HEAD").strip()
    project.make("propose-update", "QUICK=1").succeeded()
    said = proposal(project)
    assert said["name"] == f"{NEXT}\n"
    assert said["title"] == f"Update the template from 999.0.0 to {NEXT}\n"
    assert said["body.md"].startswith("# Update of the template")
    assert "draft" not in said
    assert unpacked(project, base, tmp_path / "clone").count("\n") == 1
    assert (tmp_path / "clone/Makefile").read_text("utf-8").startswith("# The verbs.")

    git(project.path, "switch", "--quiet", "main")
    git(project.path, "branch", "--quiet", "-D", f"update-{NEXT}")
    project.edit("Makefile", "# The project's verbs.", "# Our verbs.")
    commit(project.path, "Ours")
    base = git(project.path, "rev-parse", "HEAD").strip()
    project.make("propose-update", "QUICK=1").succeeded()
    said = proposal(project)
    assert said["title"].startswith("Conflicts in 1: update the template")
    assert "- `Makefile`" in said["body.md"].partition("# Update of the template")[0]
    assert "draft" in said
    unpacked(project, base, tmp_path / "other")
    assert "<<<<<<<" in (tmp_path / "other/Makefile").read_text("utf-8")

    (project.path / "config/project.yaml").write_text("", encoding="utf-8")
    project.make("propose-update").failed("not committed", "refused")
    assert not proposal(project)


# Says yes of what it has signed, by the digest; all else it only notes.
COSIGN = """
signed = {signed!r}
verb, image = sys.argv[1], sys.argv[-1]
known = open(signed).read().split() if os.path.exists(signed) else []
if verb == "verify":
    if os.path.exists(signed + ".down"):
        sys.exit("error: the log does not answer")
    if image not in known:
        sys.exit("Error: no signatures found")
elif verb == "sign":
    if os.path.exists(signed + ".down"):
        sys.exit("error: the log does not answer")
    with open(signed, "a") as file:
        print(image, file=file)
else:
    (predicate,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--predicate=")]
    with open(predicate) as given, open(signed + "." + sys.argv[3 - 1 + 2].split("=")[-1], "w") as kept:
        kept.write(given.read())
"""
TRIVY = """
(output,) = [a.partition("=")[2] for a in sys.argv if a.startswith("--output=")]
with open(output, "w") as file:
    json.dump({"bomFormat": "CycloneDX", "of": sys.argv[-1]}, file)
"""


@pytest.mark.engine
@pytest.mark.parametrize("name", [LAPTOP])
def test_what_is_pushed_is_signed(
    name: str, template: Template, copie_session: Copie, tmp_path: Path, programs: Path
) -> None:
    """With what it holds and what it is of; and what is there unsigned is not believed."""
    engine.require()
    signed = tmp_path / "signed"
    cosign = Played(programs, "cosign").plays(COSIGN.format(signed=str(signed)))
    trivy = Played(programs, "trivy").plays(TRIVY)
    with (
        restored(life(name, template, copie_session).project) as project,
        engine.registry(tmp_path) as address,
    ):
        push_to(project, address)
        known = {
            "CI": "true",
            "PATH": cosign.path,
            "GITHUB_REPOSITORY": "team/my-model",
            "GITHUB_RUN_ID": "12",
            "GITHUB_WORKFLOW_REF": "team/my-model/.github/workflows/main.yml@refs/heads/main",
        }
        push = ("images", "ENV=dev", "IMAGE=register", "PUSH=1", "SIGN=1")
        project.make(*push, **known).failed("a file differs", "commit first")
        project.edit("config/project.yaml", "epoch: 0", f"epoch: {time.time_ns()}")
        commit(project.path, "A registry, and tags of this test")
        project.make(*push, **{**known, "PATH": machine()["PATH"]}).failed("cosign", "SIGN=1 to CI")
        project.make("images", "SIGN=1", **known).failed("SIGN=1 goes with PUSH=1")
        (image,) = images(project, *push[1:], **known)
        try:
            assert image["state"] == "pushed"
            (whole,) = signed.read_text("utf-8").split()
            assert whole.startswith(image["image"].rpartition(":")[0] + "@sha256:")
            assert [told[0] for told in cosign.told] == ["sign", "attest", "attest"]
            assert trivy.told[0][-1] == image["image"]
            held = json.loads((tmp_path / "signed.cyclonedx").read_text("utf-8"))
            assert held == {"bomFormat": "CycloneDX", "of": image["image"]}
            origin = json.loads((tmp_path / "signed.slsaprovenance1").read_text("utf-8"))
            revision = git(project.path, "rev-parse", "HEAD").strip()
            made_of = origin["buildDefinition"]["resolvedDependencies"]
            assert made_of[0]["digest"] == {"gitCommit": revision}
            assert "python" in made_of[1]["uri"]
            run = "https://github.com/team/my-model/actions/runs/12/attempts/1"
            assert origin["runDetails"]["metadata"]["invocationId"] == run

            (again,) = images(project, *push[1:], **known)
            assert again["state"] == "present"
            (asked,) = cosign.told
            assert "^https://github\\.com/team/my\\-model/[.]github/workflows/" in asked[1]
            assert "--certificate-oidc-issuer=https://token.actions.githubusercontent.com" in asked

            # Whoever pushed this, it was no workflow of this repository.
            signed.write_text("", encoding="utf-8")
            check = ("images", "ENV=dev", "IMAGE=register", "CHECK=1", "SIGN=1")
            git(project.path, "remote", "add", "origin", "git@github.com:team/my-model.git")
            laptop = {"PATH": cosign.path}
            assert in_state(images(project, *check[1:], **laptop), "unsigned") == {"register"}
            project.make(*push, **known).failed("no workflow of this repository", "images.epoch")
            (tmp_path / "signed.down").touch()
            project.make(*check, **laptop).failed("cannot be looked at", "the log does not answer")
            git(project.path, "remote", "set-url", "origin", "/somewhere/else")
            project.make(*check, **laptop).failed("no repository on GitHub", "git remote add")

            project.edit("config/project.yaml", "epoch: ", "epoch: 1")
            commit(project.path, "Once more")
            done = project.make(*push, **known)
            done.failed("it is pushed, and not signed", "the log does not answer", "images.epoch")
        finally:
            git(project.path, "remote", "remove", "origin", check=False)
            listed = engine.docker("image", "ls", "--format", "{{.Repository}}:{{.Tag}}").split()
            ours = [each for each in listed if each.startswith(address)]
            engine.docker("image", "rm", "--force", *ours)


FINDS = """
old, new = {old!r}, {new!r}
target = sys.argv[-1]
finding = dict(VulnerabilityID="CVE-2026-1", Severity="HIGH", InstalledVersion="1", FixedVersion="2")
found = []
if target == "uv.lock" and old in open("uv.lock").read():
    found = [dict(Class="lang-pkgs", Vulnerabilities=[dict(finding, PkgName={package!r})])]
if sys.argv[1] == "image" and (target.endswith({tag!r}) or not {helps!r}):
    found = [dict(Class="os-pkgs", Vulnerabilities=[dict(finding, PkgName="libduck")])]
print(json.dumps(dict(Results=found)))
"""
