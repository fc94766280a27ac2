"""Bills of materials in CycloneDX's form: what a version was trained with, and what an image installs.

Equal materials give an equal bill: it has no time of its own, and its serial number is made of what it lists.
"""

from __future__ import annotations

import json
import platform
import re
import uuid
from collections.abc import Iterable, Mapping
from importlib import metadata

from drillcore.digests import canonical_json
from drillcore.json_types import Json

SBOM = "sbom.cdx.json"  # among the artifacts of a version's run
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://cyclonedx.org/drillcore")


def training_bill(model: str, sha256: str) -> Json:
    """Return the bill of a model file: every package of this environment, who needs which, Python and the system.

    Args:
        model: its name.
        sha256: of the file.
    """
    packages, licences, needs = {}, {}, {}
    for found in metadata.distributions():
        about = found.metadata  # parsed each time it is asked for
        name = _normal(about["Name"])
        packages[name] = about["Version"]
        licences[name] = next(iter(about.get_all("License-Expression") or ()), "")
        needs[name] = {_normal(text) for text in about.get_all("Requires-Dist") or () if "extra ==" not in text}
    facts = {"python": platform.python_version(), "system": f"{platform.system()} {platform.machine()}"}
    return _bill((model, sha256), packages, needs, sha256=sha256, licences=licences, facts=facts)


def image_bill(image: str, release: str, packages: Mapping[str, str], needs: Mapping[str, Iterable[str]]) -> Json:
    """Return the bill of an image's Python packages.

    Args:
        image: its name.
        release: of drillcore.
        packages: version by name.
        needs: names by the name of who wants them; those that are not among `packages` are left out.
    """
    return _bill((image, release), packages, needs)


def _bill(
    root: tuple[str, str],
    packages: Mapping[str, str],
    needs: Mapping[str, Iterable[str]],
    *,
    sha256: str = "",
    licences: Mapping[str, str] | None = None,
    facts: Mapping[str, str] | None = None,
) -> Json:
    from cyclonedx.model import HashAlgorithm, HashType, Property
    from cyclonedx.model.bom import Bom
    from cyclonedx.model.component import Component, ComponentType
    from cyclonedx.model.dependency import Dependency
    from cyclonedx.model.license import LicenseExpression
    from cyclonedx.output import make_outputter
    from cyclonedx.schema import OutputFormat, SchemaVersion
    from packageurl import PackageURL

    kind = ComponentType.MACHINE_LEARNING_MODEL if sha256 else ComponentType.CONTAINER
    hashes = [HashType(alg=HashAlgorithm.SHA_256, content=sha256)] if sha256 else []
    # "root" and names as references: random ones would make equal bills differ.
    bom = Bom()
    bom.metadata.component = Component(type=kind, name=root[0], version=root[1], hashes=hashes, bom_ref="root")
    for name, value in (facts or {}).items():
        bom.metadata.properties.add(Property(name=f"drillcore:{name}", value=value))
    components = {}
    for name, version in packages.items():
        licence = (licences or {}).get(name)
        components[name] = Component(
            name=name,
            version=version,
            type=ComponentType.LIBRARY,
            bom_ref=f"{name}=={version}",
            purl=PackageURL("pypi", name=name, version=version),
            licenses=[LicenseExpression(licence)] if licence else [],
        )
        bom.components.add(components[name])
    refs = {name: component.bom_ref for name, component in components.items()}
    for name, ref in refs.items():
        bom.dependencies.add(Dependency(ref, [Dependency(refs[other]) for other in {*needs.get(name, ())} & {*refs}]))
    bom.dependencies.add(Dependency(bom.metadata.component.bom_ref, [Dependency(ref) for ref in refs.values()]))
    bill: Json = json.loads(make_outputter(bom, OutputFormat.JSON, SchemaVersion.V1_6).output_as_string())
    del bill["metadata"]["timestamp"], bill["serialNumber"]
    bill["serialNumber"] = f"urn:uuid:{uuid.uuid5(_NAMESPACE, canonical_json(bill))}"
    return bill


def _normal(requirement: str) -> str:
    """Return the normalised name that a requirement begins with."""
    found = re.match(r"[A-Za-z0-9._-]+", requirement)
    return re.sub(r"[-_.]+", "-", found.group()).lower() if found else ""
