"""The pipeline's commands and Faust's commands form one program."""

import faust

from pipeline.cli.main import OWN, whole_group
from pipeline.kafka.topics import tokens_topic
from pipeline.runtime.token_table import add_token_table


def test_the_pipeline_s_commands_replace_those_of_faust() -> None:
    commands = whole_group().commands

    assert all(commands[name].callback.__module__.startswith("pipeline.cli") for name in OWN if commands[name].callback)


def test_the_topic_of_tokens_is_the_changelog_of_faust_s_table() -> None:
    table = add_token_table(faust.App("orders"))
    assert tokens_topic("orders") == table.changelog_topic.get_topic_name()
