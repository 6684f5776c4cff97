"""`.ci/tools` installs the tools that some tests need, and never fails."""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

SCRIPT: Final = Path(__file__).parents[2] / ".ci" / "tools"
TOOLS: Final = ("helm", "actionlint", "promtool", "kubernetes-validate")
PLAIN: Final = ("bash", "cat", "chmod", "dirname", "ln", "mkdir", "rm", "sleep", "tail", "timeout")

GOOD_GO: Final = """#!/usr/bin/env bash
echo "$@" >>"$GOBIN/../asked"
name=${@: -1}; name=${name%@*}; name=${name##*/}
: >"$GOBIN/$name"; chmod +x "$GOBIN/$name"
"""
BROKEN_GO: Final = "#!/usr/bin/env bash\necho 'go: no answer from the proxy'\nexit 1\n"
HANGING_GO: Final = "#!/usr/bin/env bash\nexec sleep 1000\n"


def run(tmp_path: Path, *, go: str | None = None, seconds: str = "100") -> subprocess.CompletedProcess[str]:
    """Run a copy of the script with a few standard commands on its path, and with *go* if given."""
    programs = tmp_path / "programs"
    if not programs.exists():
        (tmp_path / ".ci").mkdir()
        shutil.copy(SCRIPT, tmp_path / ".ci")
        programs.mkdir()
        for name in PLAIN:
            (programs / name).symlink_to(str(shutil.which(name)))
    if go is not None:
        (programs / "go").write_text(go)
        (programs / "go").chmod(0o755)
    command = [str(programs / "bash"), str(tmp_path / ".ci" / "tools")]
    environment = {"PATH": str(programs), "TOOLS_SECONDS": seconds, "HOME": os.fspath(tmp_path)}
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def missing(done: subprocess.CompletedProcess[str]) -> list[str]:
    return re.findall(r"^\.ci/tools: no ([\w-]+), so its tests are skipped: .+$", done.stderr, re.MULTILINE)


def test_tools_are_reported_as_missing_without_go_apt_and_python(tmp_path: Path) -> None:
    done = run(tmp_path)

    assert (done.returncode, done.stdout) == (0, "")
    assert sorted(missing(done)) == sorted(TOOLS)


def test_a_failed_build_is_reported_with_its_reason(tmp_path: Path) -> None:
    done = run(tmp_path, go=BROKEN_GO)

    assert done.returncode == 0
    assert sorted(missing(done)) == sorted(TOOLS)
    assert "go: no answer from the proxy" in (tmp_path / "build/tools/log").read_text()


def test_a_build_that_hangs_is_ended(tmp_path: Path) -> None:
    done = run(tmp_path, go=HANGING_GO, seconds="1")

    assert done.returncode == 0
    assert sorted(missing(done)) == sorted(TOOLS)
    assert "no time is left" in done.stderr


def test_tools_are_pinned_and_built_once(tmp_path: Path) -> None:
    assert missing(run(tmp_path, go=GOOD_GO)) == ["promtool", "kubernetes-validate"]
    assert missing(run(tmp_path, go=GOOD_GO)) == ["promtool", "kubernetes-validate"]

    asked = (tmp_path / "build/tools/asked").read_text().splitlines()
    assert len(asked) == 2
    assert all(re.fullmatch(r"install -trimpath -ldflags=-s \S+@v\d+\.\d+\.\d+", each) for each in asked), asked


@pytest.mark.parametrize("tool", ["helm", "actionlint"])
def test_a_tool_of_another_version_is_replaced(tmp_path: Path, tool: str) -> None:
    run(tmp_path, go=GOOD_GO)
    script = tmp_path / ".ci" / "tools"
    script.write_text(re.sub(rf"(^{tool}=.*@v).*", r"\g<1>99.0.0", script.read_text(), count=1, flags=re.MULTILINE))

    run(tmp_path, go=GOOD_GO)

    asked = (tmp_path / "build/tools/asked").read_text().splitlines()
    assert [each.rpartition("@")[2] for each in asked if each.partition("@")[0].endswith(tool)] == ["v99.0.0"]


def test_the_whole_check_uses_the_tools() -> None:
    said = SCRIPT.with_name("run").read_text()

    begun, waited = said.index("\nnice .ci/tools &\n"), said.index('\nwait "$tools"\n')
    assert begun < said.index("\nexport PATH=$PWD/build/tools/bin:$PATH\n") < waited
    assert waited < said.index("make test")
