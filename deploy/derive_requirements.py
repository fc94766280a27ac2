"""Derive the images' requirements from requirements.lock: the same pins and hashes, only what an image needs.

Beside each of them a bill of materials in CycloneDX's form.

    python deploy/derive_requirements.py          # write them again, after `make lock`
    python deploy/derive_requirements.py --check  # fail where they are out of date

The lock says of each package which others want it ("via"). An image's packages are those that its roots want, directly
or not. Where a package is wanted for an extra of another only, it comes along: the result may be larger than needed,
never smaller. They are installed with --no-deps, so that nothing else is brought.
"""

from __future__ import annotations

import json
import re
import sys
import tomllib
from collections.abc import Iterable
from pathlib import Path

from drillcore.retrain.materials import image_bill

ROOT = Path(__file__).resolve().parents[1]
LOCK = ROOT / "requirements.lock"
HEAD = "# Made from requirements.lock by deploy/derive_requirements.py; do not edit.\n"
_CUDA = re.compile(r"nvidia-|cuda-")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
# What the process that fetches needs beyond the base: the registry's client, S3 where artifacts lie there, and the
# driver of PostgreSQL where the alias history does. Both images verify signatures, where keys are trusted.
_FETCH = ("mlflow", "boto3", "psycopg")


def derive(pyproject: str, lock: str) -> dict[str, str]:
    """Return the text of each file by its name, from the texts of pyproject.toml and requirements.lock.

    Raises:
        ValueError: a package that an image needs is not in the lock.
    """
    project = tomllib.loads(pyproject)["project"]
    base = names(project["dependencies"])
    blocks, wanted_by = read_lock(lock)
    base |= names(project["optional-dependencies"].get("signing", ()))
    serve = closure(base | names(project["optional-dependencies"]["serve"]), blocks, wanted_by)
    fetch = closure(base | set(_FETCH), blocks, wanted_by)
    images = {
        "cuda": serve,
        "cpu": {name for name in serve if not _CUDA.match(name)},
        "fetch": {name for name in fetch if not _CUDA.match(name)},
    }
    made = {f"serving/requirements-{name}.txt": text(chosen, blocks) for name, chosen in images.items()}
    for name, chosen in images.items():
        versions = {one: pinned_version(blocks[one]) for one in sorted(chosen)}
        needs = {one: {other for other in chosen if one in wanted_by[other]} for one in chosen}
        image = "drillcore-fetch" if name == "fetch" else f"drillcore-serve-{name}"
        bill = image_bill(image, project["version"], versions, needs)
        made[f"serving/sbom-{name}.cdx.json"] = json.dumps(bill, indent=1, sort_keys=True) + "\n"
    return made


def pinned_version(block: str) -> str:
    """Return the version that a package's lines pin."""
    return re.split(r"[ ;\\\n]", block.partition("==")[2])[0]


def names(requirements: Iterable[str]) -> set[str]:
    """Return the normalised names of requirements of Linux; a marker for other systems leaves one out."""
    kept = [item for item in requirements if "!= 'linux'" not in item]
    return {re.sub(r"[-_.]+", "-", found.group()).lower() for item in kept if (found := _NAME.match(item))}


def read_lock(lock: str) -> tuple[dict[str, str], dict[str, set[str]]]:
    """Return each package's lines without comments, and who wants it."""
    blocks: dict[str, str] = {}
    wanted_by: dict[str, set[str]] = {}
    for block in re.split(r"\n(?=[A-Za-z0-9])", lock.strip()):
        name = block.partition("==")[0].partition("[")[0]
        lines = block.splitlines()
        comments = [line.strip().removeprefix("#").strip() for line in lines if line.lstrip().startswith("#")]
        blocks[name] = "\n".join(line for line in lines if not line.lstrip().startswith("#")) + "\n"
        wanted_by[name] = {re.split(r"[ \[]", comment.removeprefix("via").strip())[0] for comment in comments} - {""}
    return blocks, wanted_by


def closure(roots: set[str], blocks: dict[str, str], wanted_by: dict[str, set[str]]) -> set[str]:
    """Return the roots and all that they want.

    Raises:
        ValueError: a root is not in the lock.
    """
    if absent := roots - set(blocks):
        raise ValueError(f"not in requirements.lock: {', '.join(sorted(absent))}; run `make lock`")
    found = set(roots)
    while more := {name for name, by in wanted_by.items() if name not in found and by & found}:
        found |= more
    return found


def text(chosen: set[str], blocks: dict[str, str]) -> str:
    """Return a requirements file."""
    return HEAD + "".join(blocks[name] for name in sorted(chosen))


def main(arguments: list[str]) -> int:
    """Write the files, or compare them."""
    made = derive((ROOT / "pyproject.toml").read_text(), LOCK.read_text())
    stale = [
        name for name, content in made.items() if not (ROOT / name).is_file() or (ROOT / name).read_text() != content
    ]
    if "--check" in arguments:
        if stale:
            sys.stderr.write(f"out of date: {', '.join(stale)}; run python deploy/derive_requirements.py\n")
        return len(stale)
    for name in stale:
        (ROOT / name).write_text(made[name])
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
