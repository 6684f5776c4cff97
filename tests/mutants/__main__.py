"""Plants each fault of mutants.py in a copy of the tree, and runs the tests that must fail because of the fault.

python -m tests.mutants [--list] [WORD]...

WORDs select the faults whose name or file contains one of them; without a WORD, all faults are planted. The tests first
run without a fault: all must pass, and none may be skipped. WEBHOOKS_TEST_KAFKA names the real Kafka. The exit code is
1 if a test fails without a fault, or passes although a fault that lists it is planted.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import xml.etree.ElementTree as ET
from collections.abc import Iterable
from pathlib import Path

from tests.mutants.mutant import ROOT, Mutant
from tests.mutants.mutants import MUTANTS

LONGEST_RUN_SECONDS = 900


def outcomes(tree: Path, tests: Iterable[str]) -> dict[str, str]:
    """The outcome of each test: "passed", "failed" or "skipped". With parameters, the worst outcome counts."""
    report = tree / "report.xml"
    report.unlink(missing_ok=True)
    options = ["-q", "-p", "no:cacheprovider", "-o", "junit_family=xunit1", f"--junitxml={report}"]
    subprocess.run(
        [sys.executable, "-m", "pytest", *options, *tests],
        cwd=tree,
        # Workers are separate processes, which have to import the copy, too.
        env=os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"},
        stdout=(tree / "output.txt").open("w"),
        stderr=subprocess.STDOUT,
        timeout=LONGEST_RUN_SECONDS,
        check=False,
    )
    found: dict[str, str] = {}
    if report.exists():
        for case in ET.parse(report).iter("testcase"):  # noqa: S314 - pytest has just written it
            name = f"{case.get('file')}::{case.get('name', '').partition('[')[0]}"
            outcome = _outcome(case)
            if found.get(name) != "failed" and (name not in found or outcome != "passed"):
                found[name] = outcome
    return found


def _outcome(case: ET.Element) -> str:
    if case.find("failure") is not None or case.find("error") is not None:
        return "failed"
    return "passed" if case.find("skipped") is None else "skipped"


def survived(tree: Path, mutant: Mutant) -> list[str]:
    """The tests that do not fail although *mutant* is planted."""
    file = tree / mutant.file
    source = file.read_text()
    file.write_text(mutant.planted(source))
    try:
        found = outcomes(tree, mutant.tests)
    finally:
        file.write_text(source)
    return [test for test in mutant.tests if found.get(test) != "failed"]


def main() -> int:
    """Run the command line, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("words", nargs="*")
    parser.add_argument("--list", action="store_true", help="only name them")
    arguments = parser.parse_args()
    words: list[str] = arguments.words
    chosen = [each for each in MUTANTS if not words or any(word in each.name or word in each.file for word in words)]
    if arguments.list:
        print("\n".join(f"{each.file}: {each.name}" for each in chosen))
        return 0
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        tree = Path(folder) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(".*", "__pycache__", "build", "dist"))
        tests = sorted({test for each in chosen for test in each.tests})
        unfit = {test: found.get(test, "not found") for found in [outcomes(tree, tests)] for test in tests}
        unfit = {test: outcome for test, outcome in unfit.items() if outcome != "passed"}
        for test, outcome in unfit.items():
            print(f"without a fault: {test} {outcome}")
        if unfit:
            print((tree / "output.txt").read_text()[-4000:])
            return 1
        alive = 0
        for number, mutant in enumerate(chosen, start=1):
            tests_that_pass = survived(tree, mutant)
            alive += bool(tests_that_pass)
            verdict = f"NOT FOUND by {', '.join(tests_that_pass)}" if tests_that_pass else "found"
            print(f"{number}/{len(chosen)} {mutant.file}: {mutant.name}: {verdict}", flush=True)
        print(f"{len(chosen) - alive} of {len(chosen)} faults found by every test that names them")
        return 1 if alive else 0


if __name__ == "__main__":
    sys.exit(main())
