"""What `make build` produces: the contents of the archives and the metadata of the wheel."""

from __future__ import annotations

import os
import subprocess
import sys
import tarfile
import zipfile
from email.parser import Parser
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from roomkit._version import __version__
from roomkit.cli.requirements import parse_requirement

if TYPE_CHECKING:
    from email.message import Message

ROOT = Path(__file__).resolve().parents[2]


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
    (path,) = built.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def wheel_metadata(wheel: Path) -> Message:
    with zipfile.ZipFile(wheel) as archive:
        text = archive.read(f"roomkit-{__version__}.dist-info/METADATA").decode()
    return Parser().parsestr(text)


class TestWheel:
    def test_it_is_named_after_the_version_of_the_package(self, wheel: Path) -> None:
        assert wheel.name == f"roomkit-{__version__}-py3-none-any.whl"

    def test_the_typing_marker_and_the_notes_for_assistants_are_inside(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:
            assert "roomkit/py.typed" in archive.namelist()
            for name in ("AGENTS.md", "llms.txt"):
                assert archive.read(f"roomkit/{name}") == (ROOT / name).read_bytes()

    def test_every_module_is_inside_and_nothing_but_the_package(self, wheel: Path) -> None:
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
        lines = wheel_metadata.get_all("Requires-Dist") or []
        assert [line for line in lines if ";" not in line] == ["pydantic>=2.9"]

    def test_every_other_need_hangs_on_an_extra_alone(self, wheel_metadata: Message) -> None:
        """The promise `roomkit doctor` relies on when it reads the metadata."""
        lines = [line for line in wheel_metadata.get_all("Requires-Dist") or [] if ";" in line]
        assert lines
        assert all((found := parse_requirement(line)) and found.extra for line in lines)

    def test_python_and_licence_are_declared(self, wheel_metadata: Message) -> None:
        assert wheel_metadata["Requires-Python"] == ">=3.12"
        assert wheel_metadata["License-Expression"] == "MIT"
        assert wheel_metadata["License-File"] == "LICENSE"

    def test_the_notes_are_read_from_an_unpacked_wheel(self, wheel: Path, tmp_path: Path) -> None:
        """Without a checkout around it the package finds its own copies."""
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(tmp_path)
        code = (
            "import roomkit.ai_docs as docs; print(docs.__file__);"
            "print(docs.get_llms_txt().startswith('# RoomKit'), 'pytest' in docs.get_agents_md())"
        )
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env={**os.environ, "PYTHONPATH": str(tmp_path)},
            capture_output=True,
            text=True,
            check=True,
        )
        assert done.stdout.splitlines() == [str(tmp_path / "roomkit/ai_docs.py"), "True True"]


class TestSourceArchive:
    def test_documents_tests_and_tools_are_inside(self, built: Path) -> None:
        (path,) = built.glob("*.tar.gz")
        with tarfile.open(path) as archive:
            names = {name.partition("/")[2] for name in archive.getnames()}
        expected = {
            *("README.md", "LICENSE", "CONTRIBUTING.md", "CHANGELOG.md", "SECURITY.md"),
            *("AGENTS.md", "llms.txt", "Makefile", "pyproject.toml", ".importlinter"),
            *("scripts/bootstrap.sh", "tests/project/test_packaging.py"),
        }
        assert expected - names == set()
        assert not {name for name in names if name.startswith((".venv", ".tools", "uv.lock"))}
