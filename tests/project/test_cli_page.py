"""docs/cli.md says what the commands say of themselves."""

from __future__ import annotations

from scripts import cli_page


class TestPage:
    """Every subcommand, from its own --help."""

    def test_every_command_is_on_it_once(self) -> None:
        """Also the actions of commands that have some."""
        assert sorted(cli_page.marked(cli_page.PAGE.read_text("utf-8"))) == sorted(
            cli_page.wanted()
        )

    def test_every_action_is_known(self) -> None:
        """What a command's help lists under its actions has a help text on the page."""
        for name, actions in cli_page.ACTIONS.items():
            lines = cli_page.help_of(name).partition("\n  ACTION\n")[2].partition("\n\n")[0]
            assert tuple(line.split()[0] for line in lines.splitlines()) == actions

    def test_the_texts_are_those_of_the_commands(self) -> None:
        """After a change of an option the page is written anew with one command."""
        page = cli_page.PAGE.read_text("utf-8")
        assert page == cli_page.filled(page), f"run {cli_page.HOW}"

    def test_a_stale_text_is_seen(self) -> None:
        """An option the command does not have is replaced by what it has."""
        stale = "<!-- help: version -->\n\n```text\nusage: roomkit version [--colour]\n```\n"
        assert "--colour" not in cli_page.filled(stale)
        assert "--json" in cli_page.filled(stale)
