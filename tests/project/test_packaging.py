"""What `make build` produces: the contents of the archives and the metadata of the wheel."""

from __future__ import annotations

import configparser
import os
import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roomkit._version import __version__
from roomkit.ai_docs import get_llms_full_txt
from roomkit.cli.requirements import parse_requirement

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]
# Spelled so that this file does not find itself.
SECRETS = re.compile(
    "AKIA[0-9A-Z]{16}|gh[pousr]_[A-Za-z0-9]{36}|sk-[a-z]*-?[A-Za-z0-9]{32}|xox[abp]-[0-9]{8}"
    "|-----BEGIN [A-Z ]*PRIVATE " + "KEY|/root" + "/|/ho" + "me/[a-z]+/[a-z]+/"
)
INVENTED = {"tests/test_voice/test_file_worker.py"}
"""Files whose paths of a home folder stand for anybody's."""
LITTER = re.compile(
    r"(^|/)(__pycache__|\.[a-z_]*cache|\.venv\w*|\.tools|\.git|\.hypothesis|site|dist|htmlcov)(/|$)"
    r"|\.(pyc|pyo|db|sqlite3?|pem|key|log|whl)$|(^|/)(\.env.*|\.netrc|uv\.lock|\.coverage.*)$"
)


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build both archives as `make build` does, the wheel out of the source archive."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder), str(ROOT)],
        check=True,
        capture_output=True,
        timeout=50,
    )
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    """Return the wheel."""
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_metadata(wheel: Path) -> Message:
    """Return what the wheel says of itself."""
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"roomkit-{__version__}.dist-info/METADATA").decode()
    return Parser().parsestr(text)


class TestWheel:
    def test_it_is_named_after_the_version_of_the_package(self, wheel: Path) -> None:
        """Pure Python, for every system."""
        assert wheel.name == f"roomkit-{__version__}-py3-none-any.whl"

    def test_the_typing_marker_and_the_notes_for_assistants_are_inside(self, wheel: Path) -> None:
        """Byte for byte, and the whole text as the package makes it."""
        with zipfile.ZipFile(wheel) as archive:
            assert "roomkit/py.typed" in archive.namelist()
            for name in ("AGENTS.md", "llms.txt"):
                assert archive.read(f"roomkit/{name}") == (ROOT / name).read_bytes()
            whole = archive.read("roomkit/llms-full.txt")
        assert whole == get_llms_full_txt().encode()
        assert len(whole) < 150_000

    def test_there_is_no_litter_and_no_secret(self, wheel: Path) -> None:
        """No cache, no database, no key; every file is one that somebody imports or reads."""
        with zipfile.ZipFile(wheel) as archive:
            assert {name for name in archive.namelist() if LITTER.search(name)} == set()
            kinds = {Path(name).suffix for name in archive.namelist() if ".dist-info/" not in name}
            found = {
                name
                for name in archive.namelist()
                if SECRETS.search(archive.read(name).decode("utf-8"))
            }
        assert kinds == {".py", ".sql", ".md", ".txt", ".typed"}
        assert found == set()

    def test_the_command_and_the_fixtures_are_found_by_others(self, wheel: Path) -> None:
        """The shell finds `roomkit`, pytest finds the simulators; both lead to something."""
        with zipfile.ZipFile(wheel) as archive:
            text = archive.read(f"roomkit-{__version__}.dist-info/entry_points.txt").decode()
            names = archive.namelist()
        points = configparser.ConfigParser()
        points.read_string(text)
        assert dict(points["console_scripts"]) == {"roomkit": "roomkit.cli:main"}
        assert dict(points["pytest11"]) == {"roomkit": "roomkit.simulators.pytest_plugin"}
        assert {"roomkit/cli/__init__.py", "roomkit/simulators/pytest_plugin.py"} <= set(names)

    def test_the_version_stands_in_one_place(self, wheel_metadata: Message) -> None:
        """`_version.py`; the project file asks for it and repeats it nowhere."""
        project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
        assert project["dynamic"] == ["version"]
        assert "version" not in project
        assert wheel_metadata["Version"] == __version__

    def test_the_description_is_the_readme(self, wheel_metadata: Message) -> None:
        """What an index shows."""
        assert wheel_metadata["Description-Content-Type"] == "text/markdown"
        assert str(wheel_metadata.get_payload()).strip().startswith("# RoomKit")

    def test_every_module_is_inside_and_nothing_but_the_package(self, wheel: Path) -> None:
        """No tests, no examples."""
        source = ROOT / "src"
        modules = {path.relative_to(source).as_posix() for path in source.rglob("*.py")}
        with zipfile.ZipFile(wheel) as archive:
            packed = {name for name in archive.namelist() if ".dist-info/" not in name}
        assert {name for name in packed if name.endswith(".py")} == modules
        assert {name.split("/")[0] for name in packed} == {"roomkit"}

    def test_every_migration_is_inside(self, wheel: Path) -> None:
        """Without them no database could be opened."""
        source = ROOT / "src"
        files = {path.relative_to(source).as_posix() for path in source.rglob("*.sql")}
        assert {"sqlite", "postgres"} <= {name.split("/")[-2] for name in files}
        with zipfile.ZipFile(wheel) as archive:
            assert {name for name in archive.namelist() if name.endswith(".sql")} == files

    def test_pydantic_is_all_it_needs(self, wheel_metadata: Message) -> None:
        """Without an extra."""
        lines = wheel_metadata.get_all("Requires-Dist") or []
        assert [line for line in lines if ";" not in line] == ["pydantic>=2.9"]

    def test_every_other_need_hangs_on_an_extra_alone(self, wheel_metadata: Message) -> None:
        """The promise `roomkit doctor` relies on when it reads the metadata."""
        lines = [line for line in wheel_metadata.get_all("Requires-Dist") or [] if ";" in line]
        assert lines
        assert all((found := parse_requirement(line)) and found.extra for line in lines)

    def test_python_and_licence_are_declared(self, wheel_metadata: Message) -> None:
        """As the project file says."""
        assert wheel_metadata["Requires-Python"] == ">=3.12"
        assert wheel_metadata["License-Expression"] == "MIT"
        assert wheel_metadata["License-File"] == "LICENSE"

    def test_the_notes_are_read_from_an_unpacked_wheel(self, wheel: Path, tmp_path: Path) -> None:
        """Without a checkout around it the package finds its own copies."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)
        code = (
            "import roomkit, roomkit.ai_docs as docs; print(docs.__file__);"
            "print(roomkit.get_llms_txt().startswith('# RoomKit'), 'pytest' in "
            "roomkit.get_agents_md(), '## llms.txt' in roomkit.get_ai_context(), "
            "len(docs.get_llms_full_txt()) > 50_000)"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [
            str(tmp_path / "roomkit/ai_docs.py"),
            "True True True True",
        ]


class TestSourceArchive:
    def test_documents_tests_and_tools_are_inside(self, built: Path) -> None:
        """Whoever has it can read, test and build."""
        names = set(_files(built))
        expected = {
            *("README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
            *("AGENTS.md", "llms.txt", "Makefile", "pyproject.toml", ".importlinter"),
            *("scripts/bootstrap.sh", "tests/project/test_packaging.py"),
        }
        assert expected - names == set()

    def test_there_is_no_litter_and_no_secret(self, built: Path) -> None:
        """Whoever builds it on a machine of their own gives nothing of it away."""
        files = _files(built)
        assert {name for name in files if LITTER.search(name)} == set()
        texts = {name: data.decode("utf-8", "replace") for name, data in files.items()}
        found = {name for name, text in texts.items() if SECRETS.search(text)}
        assert found <= INVENTED

    def test_a_secret_would_be_seen(self) -> None:
        """The pattern knows what keys look like."""
        for text in (
            "AKIA" + "A1" * 8,
            "ghp_" + "a" * 36,
            "sk-ant-" + "b" * 40,
            "xoxb-" + "1" * 9,
        ):
            assert SECRETS.search(text), text

    def test_it_can_be_built_from(self, built: Path) -> None:
        """`python -m build` makes the wheel out of it; what its build needs is inside."""
        names = set(_files(built))
        assert {"scripts/hatch_build.py", "tests/data/public_api.txt", "docs/hooks.md"} <= names


def _files(built: Path) -> dict[str, bytes]:
    """Return what is in the source archive: name, without the folder around all, to bytes."""
    (path,) = built.glob("*.tar.gz")
    with tarfile.open(path) as archive:
        return {
            member.name.partition("/")[2]: data.read()
            for member in archive.getmembers()
            if (data := archive.extractfile(member)) is not None
        }
