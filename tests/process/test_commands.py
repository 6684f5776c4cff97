"""Runs of the program without a broker: its help, its error messages, and the modules that it loads."""

import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from pipeline.cli.main import OWN
from tests.support.program import Ended, Webhooks, application, clean_environment

WITHOUT_SETTINGS = Webhooks({})
FAUST = ["agents", "tables", "worker"]

_explained: dict[tuple[str, ...], Ended] = {}


async def explained(*command: str) -> Ended:
    """The help of a command, which is run once for all tests."""
    if command not in _explained:
        _explained[command] = await WITHOUT_SETTINGS.run(*command, "--help")
    return _explained[command]


def listed(ended: Ended) -> set[str]:
    """The commands that the output of `--help` lists."""
    return set(re.findall(r"^  ([\w-]+)  +\S", ended.out.partition("Commands:")[2], re.MULTILINE))


async def test_help_needs_no_settings_and_names_every_command() -> None:
    ended = await explained()

    assert (ended.code, ended.err) == (0, "")
    assert listed(ended) == {"worker", *OWN}


@pytest.mark.parametrize("name", [*FAUST, *OWN])
async def test_every_command_has_help_without_settings(name: str) -> None:
    ended = await explained(name)

    assert (ended.code, ended.err) == (0, "")
    assert ended.out.startswith(f"Usage: webhooks {name}")


async def test_help_names_the_setting_that_an_option_overrides() -> None:
    lines = (await explained("worker")).out.split()

    assert {"WEBHOOKS_WEB_PORT.", "WEBHOOKS_WEB_BIND.", "WEBHOOKS_LOG_LEVEL."} <= set(lines)
    assert "WARN]" not in lines


async def test_apply_without_a_file_explains_how_to_name_one() -> None:
    ended = await WITHOUT_SETTINGS.run("subscriptions", "apply")

    assert (ended.code, ended.out) == (2, "")
    assert ended.err.endswith("Error: name a file, or - for standard input\n")


async def test_faust_s_commands_are_shown_only_on_request() -> None:
    ended = await WITHOUT_SETTINGS.run("--help-all")

    assert (ended.code, ended.err) == (0, "")
    assert listed(ended) == {*FAUST, "reset", *OWN}


async def test_help_omits_useless_commands_and_cuts_no_summary() -> None:
    out = (await explained()).out

    assert not {"livecheck", "model", "models", "clean-versions", "--json", "--workdir", "--console-port"} & set(
        out.split()
    )
    assert "..." not in out.partition("Commands:")[2].partition("Settings come")[0]
    assert "..." not in (await explained("subscriptions")).out.partition("Commands:")[2]
    assert not {"--web-transport", "--web-host", "--console-port"} & set(
        (await WITHOUT_SETTINGS.done("worker", "--help")).split()
    )


@pytest.mark.parametrize("command", [["check"], ["subscriptions", "list"]])
async def test_the_global_json_option_is_for_faust_s_commands_only(command: list[str]) -> None:
    ended = await WITHOUT_SETTINGS.run("--json", *command)

    assert (ended.code, ended.out) == (2, "")
    assert "Error: --json is for Faust's commands" in ended.err


COMPLETE = """
eval "$(webhooks completion bash)"
for words in "webhooks subs" "webhooks subscriptions p" "webhooks dlq list --re"; do
  COMP_WORDS=($words)
  COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
  COMPREPLY=()
  _webhooks_completion webhooks
  echo "${COMPREPLY[@]}"
done
"""


def test_bash_completes_commands_and_options() -> None:
    path = f"{Path(sys.executable).parent}:/usr/bin:/bin"

    shown = subprocess.run(
        ["/bin/bash", "-c", COMPLETE],
        env={**clean_environment({}), "PATH": path},
        check=True,
        capture_output=True,
        text=True,
    )

    assert (shown.stdout.splitlines(), shown.stderr) == (["subscriptions", "pause", "--reason"], "")


@pytest.mark.parametrize(
    ("shell", "part"), [("zsh", "compdef _webhooks_completion webhooks"), ("fish", "complete --no")]
)
async def test_other_shells_get_a_completion_script(shell: str, part: str) -> None:
    assert part in await WITHOUT_SETTINGS.done("completion", shell)


@pytest.mark.parametrize("variables", [{}, {"PYTHONUNBUFFERED": "1"}], ids=["buffered", "unbuffered"])
@pytest.mark.parametrize("words", ["completion bash", "--version", "--help", "subscriptions --help", "top --help"])
def test_output_on_a_full_disk_is_reported_in_a_sentence(words: str, variables: dict[str, str]) -> None:
    command = [sys.executable, "-c", "from pipeline.cli.main import main; main()", *words.split()]
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"} | variables
    with Path("/dev/full").open("wb") as full:
        ended = subprocess.run(command, env=environment, stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (1, "Error: the output can't be written: No space left on device\n")


def test_an_error_is_reported_without_a_standard_output() -> None:
    command = f"{shlex.quote(sys.executable)} -c 'from pipeline.cli.main import main; main()' nowhere >&-"
    ended = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, check=False)
    assert (ended.returncode, "Traceback" in ended.stderr) == (2, False), ended.stderr


async def test_the_version_is_the_installed_version() -> None:
    assert (await WITHOUT_SETTINGS.done("--version")).startswith("webhooks, version ")


def test_the_pipeline_s_commands_load_no_faust() -> None:
    code = f"""
import sys
from pipeline.cli.main import _own
print([name for name in {OWN!r} if _own(name) and "faust" in sys.modules])
"""

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert shown == "[]\n"


@pytest.mark.parametrize(("arguments", "module"), [(["--version"], "faust"), (["--help"], "pipeline.app")])
def test_version_and_help_load_only_what_they_need(arguments: list[str], module: str) -> None:
    code = f"""
import sys
from pipeline.cli.main import main
sys.argv = ["webhooks", *{arguments!r}]
try:
    main()
finally:
    print("loaded" if {module!r} in sys.modules else "not loaded")
"""

    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout

    assert shown.splitlines()[-1] == "not loaded"


@pytest.mark.parametrize(
    ("command", "meant"),
    [
        (["resume", "sub-1"], "did you mean webhooks subscriptions resume?"),
        (["redrive"], "did you mean webhooks dlq redrive?"),
        (["subs"], "did you mean subscriptions?"),
        (["subscriptions", "explain", "sub-1"], "did you mean webhooks explain?"),
        (["subscriptions", "resum", "sub-1"], "did you mean resume?"),
        (["subscriptions", "show", "sub-1"], "did you mean get?"),
        (["dlq", "x"], "known here: list, redrive"),
    ],
)
async def test_an_unknown_command_gets_a_suggestion(command: list[str], meant: str) -> None:
    ended = await WITHOUT_SETTINGS.run(*command)
    unknown = command[-1] if command[0] == "dlq" else command[len(command) == 3]

    assert (ended.code, ended.out) == (2, "")
    assert f'Error: there is no command "{unknown}"; {meant}' in ended.err


async def test_a_wrong_number_is_reported_with_what_is_allowed() -> None:
    for words, sentence in (
        (("skip", "sub-1", "1", "zz"), "'OFFSET': \"zz\" is not an offset; allowed: 0 or more"),
        (("skip", "sub-1", "one", "1"), "'PARTITION': \"one\" is not a partition; allowed: 0 or more"),
        (("replay", "sub-1", "--offset=-1"), "'--offset': \"-1\" is not an offset; allowed: 0 or more"),
    ):
        ended = await WITHOUT_SETTINGS.run("subscriptions", *words)
        assert (ended.code, ended.out) == (2, "")
        assert f"Error: Invalid value for {sentence}\n" in ended.err


async def test_a_missing_event_file_is_reported_before_other_errors() -> None:
    ended = await WITHOUT_SETTINGS.run("match", "/no/such/file")

    assert (ended.code, ended.err) == (1, "Error: EVENT: /no/such/file can't be read: No such file or directory\n")


async def test_the_help_of_worker_says_what_the_command_does() -> None:
    assert "Deliver events until Ctrl-C or SIGTERM" in (await explained("worker")).out


@pytest.mark.parametrize("command", [["worker"], ["agents"], ["check"]])
async def test_missing_settings_are_reported_in_sentences(command: list[str]) -> None:
    ended = await WITHOUT_SETTINGS.run(*command)

    assert (ended.code, ended.out) == (1, "")
    api, keys = ended.err.splitlines()
    assert api.startswith("Error: WEBHOOKS_API: is required: the file")
    assert keys.startswith("WEBHOOKS_SECRET_KEYS: is required: the keys")


@pytest.mark.parametrize("command", [["worker", "--without-web"], ["check"]])
async def test_an_unreachable_broker_is_reported_in_a_sentence(command: list[str], tmp_path: Path) -> None:
    webhooks = application(tmp_path, "nobody", "127.0.0.1:1", source="events")

    ended = await webhooks.run(*command)

    assert ended.code == 1
    assert "\nError: Kafka at 127.0.0.1:1 can't be used" in f"\n{ended.err}"
    assert "Traceback" not in ended.err


async def test_a_data_folder_is_created_with_its_parents(tmp_path: Path) -> None:
    webhooks = application(tmp_path, "nobody", "127.0.0.1:1", source="events")

    await Webhooks({**webhooks.environment, "WEBHOOKS_DATA_DIR": str(tmp_path / "a" / "b")}).run(
        "worker", "--without-web"
    )

    assert (tmp_path / "a" / "b").is_dir()


async def test_an_impossible_data_folder_is_reported_in_a_sentence(tmp_path: Path) -> None:
    webhooks = application(tmp_path, "nobody", "127.0.0.1:1", source="events")
    folder = Path(webhooks.environment["WEBHOOKS_API"]) / "data"

    ended = await Webhooks({**webhooks.environment, "WEBHOOKS_DATA_DIR": str(folder)}).run("worker", "--without-web")

    assert ended.code == 1
    assert ended.err.endswith(f"Error: WEBHOOKS_DATA_DIR: {folder} can't be created: not a directory\n")


async def test_a_missing_file_of_admin_keys_is_reported(tmp_path: Path) -> None:
    webhooks = application(tmp_path, "keys", "127.0.0.1:1", source="events")

    ended = await Webhooks({**webhooks.environment, "WEBHOOKS_ADMIN_JWKS": "/nowhere/jwks.json"}).run("agents")

    assert ended.code == 1
    assert ended.err.splitlines()[-1] == (
        "Error: WEBHOOKS_ADMIN_JWKS: /nowhere/jwks.json can't be read: No such file or directory"
    )


async def test_a_log_level_on_the_command_line_is_used(tmp_path: Path) -> None:
    webhooks = application(tmp_path, "nobody", "127.0.0.1:1", source="events")

    ended = await webhooks.run("worker", "--without-web", "--loglevel", "crit")

    assert ended.err.startswith("Error: Kafka at 127.0.0.1:1 can't be used")


async def test_agents_and_tables_are_shown_without_a_broker(tmp_path: Path) -> None:
    webhooks = application(tmp_path, "described", "127.0.0.1:1", source="events")

    assert '"name":"@deliver"' in await webhooks.done("--json", "agents")
    assert '"name":"tokens"' in await webhooks.done("--json", "tables")


def test_the_faust_program_starts_the_worker_and_reports_errors() -> None:
    command = [str(Path(sys.executable).with_name("faust")), "-A", "pipeline.worker", "worker"]

    ended = subprocess.run(command, env=clean_environment({}), check=False, capture_output=True, text=True)

    names = [line.partition(":")[0] for line in ended.stderr.splitlines()]
    assert (ended.returncode, names) == (1, ["WEBHOOKS_API", "WEBHOOKS_SECRET_KEYS"])
