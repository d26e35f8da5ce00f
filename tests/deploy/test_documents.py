"""What is written down is what is: schema, examples, links, names."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

import daemon
import ptychopinn
import streams
from daemon.cli.main import app
from daemon.config import Config, load_config

ROOT = Path(__file__).parents[2]


def test_the_schema_is_the_one_of_the_code():
    written = json.loads((ROOT / "deploy/docs/reference/config.schema.json").read_text())
    assert written == Config.model_json_schema(), "run: make docs"


@pytest.mark.parametrize("path", sorted((ROOT / "deploy/examples").glob("*.toml")), ids=lambda path: path.stem)
def test_examples_are_configurations(path: Path, tmp_path: Path):
    copy = tmp_path / path.name
    copy.write_text(path.read_text())
    for name in ("probe.h5", "mask.npy", "token"):
        (tmp_path / name).touch()
    config = load_config(copy)
    assert config.optics.probe_file == tmp_path / "probe.h5"


def test_the_readme_configuration_is_one(tmp_path: Path):
    (block,) = re.findall(r"```toml\n(.*?)```", (ROOT / "README.md").read_text(), flags=re.DOTALL)
    (tmp_path / "readme.toml").write_text(block)
    (tmp_path / "probe.h5").touch()
    assert load_config(tmp_path / "readme.toml").positions.shape == (40, 60)


def prose(page: Path) -> str:
    """Return a page without its code."""
    return re.sub(r"^ *```.*?^ *```|`[^`\n]+`", "", page.read_text(), flags=re.DOTALL | re.MULTILINE)


def anchors(page: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", page.read_text(), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_links_in_documents_lead_somewhere():
    links = 0
    for page in [*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md")]:
        for target, anchor in re.findall(r"\]\(([^)#:]*)(?:#([^)]*))?\)", prose(page)):
            place = page.parent / target if target else page
            assert place.exists(), f"{page.name}: {target}"
            assert not anchor or anchor in anchors(place), f"{page.name}: {target}#{anchor}"
            links += 1
    assert links > 60


def place_of(named: str) -> Path | None:
    """Return the file or folder that the layout page names, whole or as its tables abbreviate it."""
    roots = ("", "streams", "daemon", "ptychopinn", "deploy/client/ptycholive_client")
    tests = [f"tests/unit/{each}" for each in ("streams", "daemon", "ptychopinn")]
    found = [ROOT / root / named.removeprefix("…/") for root in (tests if named.startswith("…/") else roots)]
    return next((path for path in found if path.exists()), None)


def test_the_layout_page_names_files_and_tests_that_exist():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    paths = [
        name for name in re.findall(r"`([\w…./-]+)`", text) if "/" in name and not name.startswith((".venv", "http"))
    ]
    missing = [name for name in paths if name != "build/site" and place_of(name) is None]
    assert missing == []
    assert len(paths) > 100


def test_the_layout_page_names_owners_that_are_in_their_files():
    text = (ROOT / "CONTRIBUTING.md").read_text()
    named = re.findall(r"`([\w.]+)`(?: in | \()`([\w/]+\.py)`", text)
    for name, path in named:
        source = (ROOT / path).read_text()
        for part in name.split("."):
            assert re.search(rf"(def|class) {part}\b|^    {part} = |^{part}\b", source, flags=re.MULTILINE), (
                name,
                path,
            )
    assert len(named) > 12


def test_every_verb_is_in_the_readme():
    text = (ROOT / "README.md").read_text()
    verbs = [command.name or command.callback.__name__ for command in app.registered_commands]
    assert verbs
    for verb in verbs:
        assert f"`{verb}`" in text, verb


def test_commands_in_documents_have_known_verbs_and_options():
    reference = (ROOT / "deploy/docs/reference/cli.md").read_text()
    known = {
        title: set(re.findall(r"--[a-z-]+", text))
        for title, text in re.findall(r"(?ms)^## (.+?)\n(.*?)(?=^## |\Z)", reference)
    }
    seen = 0
    for page in [*ROOT.glob("*.md"), *(ROOT / "deploy").rglob("*.md")]:
        text = re.sub(r"\\\n\s*", "", page.read_text())
        for words in re.findall(r"(?m)(?:^ *|`)ptycholive ([a-z][^`\n]*)", text):
            words = words.partition("#")[0].split()
            verb = next((name for name in (" ".join(words[:2]), words[0]) if name in known), None)
            assert verb, f"{page.name}: ptycholive {' '.join(words)}"
            options = {word.partition("=")[0] for word in words if word.startswith("--")}
            assert options <= known[verb], f"{page.name}: ptycholive {' '.join(words)}"
            seen += 1
    assert seen > 30


def test_the_imported_modules_are_ours():
    for module in (daemon, ptychopinn, streams):
        assert Path(module.__file__).is_relative_to(ROOT), f"{module.__name__} of another package is installed"
