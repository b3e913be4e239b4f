"""The `roomkit` command: what it prints, what it answers to the shell, how it reads metadata."""

from __future__ import annotations

import json
import platform
import subprocess
import sys
from importlib import metadata
from typing import TYPE_CHECKING, Any

import pytest

from roomkit._version import __version__
from roomkit.cli import COMMANDS, main
from roomkit.cli.doctor import examine
from roomkit.cli.extras import EXTRAS
from roomkit.cli.requirements import (
    Distribution,
    Requirement,
    accepts,
    installed,
    parse_requirement,
    requirement_states,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    type Lookup = Callable[[str], Distribution | None]


def installation(**versions: str) -> Lookup:
    """Return a lookup that knows a small RoomKit and the named distributions."""
    lines = [
        "pydantic>=2.9",
        "httpx>=0.27; extra == 'httpx'",
        "pyjwt[crypto]>=2.8; extra == 'teams'",
        "httpx>=0.27; extra == 'teams'",
        "widget<4,>=3.4; extra == 'unheard-of'",
    ]
    known = {
        "roomkit": Distribution(
            version=__version__,
            requires=tuple(line for line in map(parse_requirement, lines) if line),
            extras=("unheard-of", "teams", "httpx"),
        ),
        "pydantic": Distribution(version="2.9"),
    }
    known |= {name: Distribution(version=version) for name, version in versions.items()}
    return known.get


def run_json(capsys: pytest.CaptureFixture[str], *argv: str) -> dict[str, Any]:
    main([*argv, "--json"])
    data: dict[str, Any] = json.loads(capsys.readouterr().out)
    return data


class TestCommandLine:
    def test_python_m_roomkit_is_the_command(self) -> None:
        done = subprocess.run(
            [sys.executable, "-m", "roomkit", "version"],
            capture_output=True,
            text=True,
            check=False,
        )
        assert (done.returncode, done.stdout, done.stderr) == (0, f"roomkit {__version__}\n", "")

    def test_the_console_script_leads_to_main(self) -> None:
        (script,) = metadata.entry_points(group="console_scripts", name="roomkit")
        assert script.load() is main

    @pytest.mark.parametrize("argv", [[], *([command.name] for command in COMMANDS)])
    def test_help_explains_the_exit_codes(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main([*argv, "--help"]) == 0
        text = capsys.readouterr().out
        assert "exit codes:" in text
        assert all(f"  {code}  " in text for code in (0, 1, 2))

    def test_the_main_help_lists_every_command(self, capsys: pytest.CaptureFixture[str]) -> None:
        main(["--help"])
        text = capsys.readouterr().out
        assert all(command.name in text and command.summary in text for command in COMMANDS)

    @pytest.mark.parametrize(
        "argv",
        [
            [],
            ["nonsense"],
            ["version", "--nonsense"],
            ["doctor", "--extra"],
            ["doctor", "--extra", "nonsense"],
            ["doctor", "--require", "nonsense"],
        ],
    )
    def test_a_wrong_call_answers_2_on_standard_error(
        self, argv: list[str], capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(argv) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert "usage: roomkit" in err

    def test_a_reader_that_leaves_early_is_no_error(self) -> None:
        with subprocess.Popen(
            [sys.executable, "-m", "roomkit", "doctor"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            process.stdout.close()
            errors = process.stderr.read()
        assert (process.returncode, errors) == (0, b"")


class TestVersion:
    def test_it_prints_one_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["version"]) == 0
        assert capsys.readouterr().out == f"roomkit {__version__}\n"

    def test_the_option_prints_the_same(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--version"]) == 0
        assert capsys.readouterr().out == f"roomkit {__version__}\n"

    def test_json_adds_python_and_pydantic(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert run_json(capsys, "version") == {
            "roomkit": __version__,
            "python": platform.python_version(),
            "pydantic": metadata.version("pydantic"),
        }


class TestDoctorOnThisInstallation:
    def test_every_extra_is_reported_in_the_order_of_the_table(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = run_json(capsys, "doctor")
        named = [extra["name"] for extra in report["extras"]]
        assert named == [name for name in EXTRAS if name not in ("dev", "docs")]
        assert (report["ok"], report["problems"]) == (True, [])

    def test_those_for_work_on_roomkit_when_asked_for(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = run_json(capsys, "doctor", "--require", "dev")
        assert "dev" in [extra["name"] for extra in report["extras"]]
        report = run_json(capsys, "doctor", "--extra", "docs")
        assert [extra["name"] for extra in report["extras"]] == ["docs"]

    def test_an_installed_extra_names_its_versions(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        report = run_json(capsys, "doctor", "--extra", "sse")
        (extra,) = report["extras"]
        assert extra["installed"] is True
        assert [(part["name"], part["version"]) for part in extra["distributions"]] == [
            ("httpx", metadata.version("httpx")),
            ("httpx-sse", metadata.version("httpx-sse")),
        ]

    def test_nothing_is_imported_to_find_out(self) -> None:
        code = (
            "import sys; from roomkit.cli import main; main(['doctor']);"
            "print(sorted({'httpx', 'websockets', 'uvicorn', 'phonenumbers'} & set(sys.modules)))"
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=True
        )
        assert done.stdout.endswith("\n[]\n")

    def test_the_text_says_how_to_get_what_is_missing(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        missing = [
            extra for extra in run_json(capsys, "doctor")["extras"] if not extra["installed"]
        ]
        main(["doctor"])
        text = capsys.readouterr().out
        assert f"python    {platform.python_version()}" in text
        assert f"pydantic  {metadata.version('pydantic')}" in text
        for extra in missing:
            assert f"pip install 'roomkit[{extra['name']}]'" in text
            assert extra["enables"] in text

    def test_a_required_extra_that_is_there_is_fine(
        self, capsys: pytest.CaptureFixture[str]
    ) -> None:
        assert main(["doctor", "--require", "httpx", "--require", "SSE"]) == 0
        assert "problem" not in capsys.readouterr().out


class TestExamine:
    def test_a_missing_extra_is_no_problem_unless_required(self) -> None:
        assert examine(installation()).problems == ()
        assert examine(installation(), required=["httpx"]).problems == (
            "required extra 'httpx' is not installed: pip install 'roomkit[httpx]'",
        )

    def test_a_required_extra_is_shown_beside_the_selected_ones(self) -> None:
        report = examine(installation(), selected=["teams"], required=["httpx"])
        assert [extra.name for extra in report.extras] == ["httpx", "teams"]

    def test_an_extra_half_installed_is_missing(self) -> None:
        report = examine(installation(httpx="0.28.1"))
        assert {extra.name: extra.installed for extra in report.extras} == {
            "httpx": True,
            "teams": False,
            "unheard-of": False,
        }

    def test_a_version_too_old_does_not_count(self) -> None:
        report = examine(installation(httpx="0.26.3"), selected=["httpx"], required=["httpx"])
        (extra,) = report.extras
        assert extra.distributions[0].version == "0.26.3"
        assert not extra.installed
        assert len(report.problems) == 1

    def test_an_outdated_core_dependency_is_a_problem(self) -> None:
        report = examine(installation(pydantic="2.8.2"))
        assert report.problems == ("pydantic>=2.9 (found 2.8.2)",)

    def test_an_extra_without_a_description_is_listed_last(self) -> None:
        assert [extra.name for extra in examine(installation()).extras][-1] == "unheard-of"

    def test_without_metadata_it_says_so(self) -> None:
        report = examine(lambda _name: None)
        assert report.extras == ()
        assert "without being installed" in report.problems[0]


class TestParseRequirement:
    @pytest.mark.parametrize(
        ("line", "expected"),
        [
            ("pydantic>=2.9", Requirement("pydantic", specifier=">=2.9")),
            ("sherpa_onnx <2 ; extra == 'x'", Requirement("sherpa-onnx", (), "<2", "x")),
            ('h.t--t.p; (extra == "My_Extra")', Requirement("h-t-t-p", (), "", "my-extra")),
            ("pyjwt[crypto, Other]>=2.8", Requirement("pyjwt", ("crypto", "other"), ">=2.8")),
            ("old (>=1.0, <2)", Requirement("old", specifier=">=1.0,<2")),
        ],
    )
    def test_the_parts(self, line: str, expected: Requirement) -> None:
        assert parse_requirement(line) == expected

    @pytest.mark.parametrize(
        "line",
        [
            "uvloop; sys_platform != 'win32' and extra == 'standard'",
            "typing-extensions>=4; python_version < '3.11'",
            "; extra == 'x'",
        ],
    )
    def test_a_line_that_may_not_apply_is_left_out(self, line: str) -> None:
        assert parse_requirement(line) is None


class TestAccepts:
    @pytest.mark.parametrize(
        ("specifier", "version", "expected"),
        [
            ("", "1", True),
            (">=0.27", "0.27", True),
            (">=0.27", "0.9.9", False),
            (">=2", "2.0.0", True),
            ("==2.0", "2", True),
            (">2", "2.0.1", True),
            (">2", "2.0", False),
            ("<=1.4", "1.4.0", True),
            ("!=1.5", "1.5.0", False),
            ("<2", "1.13.8", True),
            ("<2", "2.0.1", False),
            ("<0.1.1,>=0.0.48", "0.1.0", True),
            ("<0.1.1,>=0.0.48", "0.1.5", False),
            (">=2", "2.0rc1", True),
            ("~=1.0", "7", True),
            (">=1", "unknown", True),
        ],
    )
    def test_comparisons(self, specifier: str, version: str, expected: bool) -> None:
        assert accepts(specifier, version) is expected


class TestRequirementStates:
    def test_extras_of_a_dependency_are_followed(self) -> None:
        crypto = Requirement("cryptography", specifier=">=3.4", extra="crypto")
        pyjwt = Distribution(version="2.15.1", requires=(crypto,), extras=("crypto",))
        plain = installation(httpx="0.28.1")
        states = requirement_states(
            "roomkit", "teams", lambda name: pyjwt if name == "pyjwt" else plain(name)
        )
        assert [(state.name, state.satisfied) for state in states] == [
            ("cryptography", False),
            ("httpx", True),
            ("pyjwt", True),
        ]

    def test_a_sum_that_names_its_own_extras_ends(self) -> None:
        own = Distribution(
            version="1",
            requires=(
                Requirement("roomkit", ("part", "all"), extra="all"),
                Requirement("httpx", specifier=">=0.27", extra="part"),
                Requirement("httpx", specifier="<1", extra="all"),
            ),
        )
        (state,) = requirement_states("roomkit", "all", {"roomkit": own}.get)
        assert (state.name, state.specifier, state.version) == ("httpx", "<1,>=0.27", None)

    def test_an_unknown_distribution_is_not_installed(self) -> None:
        assert installed("no-such-distribution-at-all") is None
