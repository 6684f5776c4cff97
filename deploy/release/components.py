"""The software bill of materials: what requirements.lock names, as CycloneDX 1.6 in JSON.

    python -m deploy.release.components requirements.lock    to stdout; the locked packages are installed here

Each package has its version, its licence as its own metadata says, and the hash of each of its files that the lock
allows. The same lock and version give the same document: it has neither a time nor a random number.
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
"""The licences of packages that are locked for another platform, and so can't be asked here."""
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
    """The packages of a lock file as pip reads it."""
    for name, version, rest in re.findall(r"^([\w.-]+)==([^\s;\\]+)((?:.*\\\n)*.*)", text, re.MULTILINE):
        yield Locked(name, version, tuple(sorted(re.findall(r"--hash=sha256:([0-9a-f]{64})", rest))))


def licences(name: str, found: Message) -> list[dict[str, Any]]:
    """The licence of a package, as CycloneDX has it; *found*: its core metadata.

    Raises:
        ValueError: its metadata names none.
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
    """One package.

    Raises:
        ValueError: it has no hash, its licence is not known, or another version is installed.
    """
    if not package.hashes:
        raise ValueError(f"{package.name}: the lock has no hash of it")
    try:
        found = metadata(package.name)
    except PackageNotFoundError:
        if package.name not in OF_OTHER_PLATFORMS:
            raise ValueError(f"{package.name}: is locked and not installed here, so its licence is not known") from None
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
        version: of the pipeline.

    Raises:
        ValueError: something about a package is not known.
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
    """Write the document of the lock file that the command line names."""
    lock = Path(sys.argv[1]).read_text()
    print(json.dumps(document(lock, version_of(ROOT)), indent=2))


if __name__ == "__main__":
    main()
