"""Makes the software bill of materials from requirements.lock, as CycloneDX 1.6 in JSON.

    python -m deploy.release.components requirements.lock    writes it to stdout; needs the locked packages installed

Each package has its version, the licence in its metadata, and the hashes in the lock file. The document has no time and
no random number, so equal locks and versions give equal documents.
"""

import json
import re
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, metadata
from pathlib import Path
from typing import Any, Final, cast

from deploy.release.version import ROOT, version_of

OF_OTHER_PLATFORMS: Final = {"colorama": "BSD-3-Clause"}
"""The licences of packages that are locked for other platforms only, so that their metadata is not installed."""
_LONGEST_NAME: Final = 60
_NAMESPACE: Final = uuid.UUID("6a7cf3a4-6a0f-5d0a-9d8e-0d2b3c1f4e57")


@dataclass(frozen=True, slots=True)
class Locked:
    """A package of a lock file.

    Attributes:
        hashes: the SHA-256 of each file that may be installed.
    """

    name: str
    version: str
    hashes: tuple[str, ...]


def locked(text: str) -> Iterator[Locked]:
    """The packages of a lock file in pip's format."""
    for name, version, rest in re.findall(r"^([\w.-]+)==([^\s;\\]+)((?:.*\\\n)*.*)", text, re.MULTILINE):
        yield Locked(name, version, tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))))


def licences(name: str, found: Message) -> list[dict[str, Any]]:
    """The licence of a package in the form of CycloneDX. *found* is its core metadata.

    Raises:
        ValueError: the metadata has no licence.
    """
    if expression := found.get("License-Expression"):
        return [{"expression": expression}]
    text = (found.get("License") or "").strip()
    if text and "\n" not in text and len(text) <= _LONGEST_NAME:
        return [{"license": {"name": text}}]
    classifiers = [each.split(" :: ")[-1] for each in found.get_all("Classifier", []) if each.startswith("License ::")]
    if not classifiers:
        raise ValueError(f"{name}: its metadata names no licence")
    return [{"license": {"name": each}} for each in classifiers]


def component(package: Locked) -> dict[str, Any]:
    """The component of a package.

    Raises:
        ValueError: the package has no hash or no known licence, or another version is installed.
    """
    if not package.hashes:
        raise ValueError(f"{package.name}: the lock has no hash of it")
    try:
        found = metadata(package.name)
    except PackageNotFoundError:
        if package.name not in OF_OTHER_PLATFORMS:
            raise ValueError(f"{package.name}: is locked but not installed here, so its licence is unknown") from None
        named = [{"expression": OF_OTHER_PLATFORMS[package.name]}]
    else:
        if found["Version"] != package.version:
            raise ValueError(f"{package.name}: {package.version} is locked, {found['Version']} is installed")
        named = licences(package.name, cast(Message, found))
    purl = f"pkg:pypi/{package.name.lower()}@{package.version}"
    return {
        "type": "library",
        "bom-ref": purl,
        "name": package.name,
        "version": package.version,
        "licenses": named,
        "purl": purl,
        "hashes": [{"alg": "SHA-256", "content": each} for each in package.hashes],
    }


def document(lock: str, version: str) -> dict[str, Any]:
    """The whole document.

    Args:
        lock: the text of the lock file.
        version: the version of the pipeline.

    Raises:
        ValueError: a component can't be made.
    """
    purl = f"pkg:pypi/webhook-pipeline@{version}"
    own = {"type": "application", "bom-ref": purl, "name": "webhook-pipeline", "version": version, "purl": purl}
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": "urn:uuid:" + str(uuid.uuid5(_NAMESPACE, version + lock)),
        "version": 1,
        "metadata": {"component": {**own, "licenses": [{"expression": "Apache-2.0"}]}},
        "components": [component(package) for package in locked(lock)],
    }


def main() -> None:
    """Write the document for the lock file in the command line."""
    lock = Path(sys.argv[1]).read_text()
    print(json.dumps(document(lock, version_of(ROOT)), indent=2))


if __name__ == "__main__":
    main()
