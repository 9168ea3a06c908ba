import json
import re
import subprocess
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

from benchmarks import _results, tables


OLD = "# Speed\n\n<!-- table:speed -->\nold\n<!-- /table -->\n\nText.\n"
NEW = "# Speed\n\n<!-- table:speed -->\n| 3 |\n<!-- /table -->\n\nText.\n"
RENDER = {"speed": lambda results: f"| {results['dct']['rows'][0]['value']} |\n"}


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    _results.write(
        "dct",
        [{"value": 3}],
        claim="Three.",
        folder=tmp_path / "benchmarks" / "results",
    )
    (tmp_path / "docs" / "notes").mkdir(parents=True)
    (tmp_path / "README.md").write_text(OLD)
    (tmp_path / "docs" / "notes" / "speed.md").write_text(NEW)
    return tmp_path


def test_tables_of_the_repository_are_current():
    assert tables.renew(check=True) == [], "run `make tables`"


def test_figures_within_a_line():
    """In a cell, several in a line, beside a table; what has no partner is named."""
    cell = "| a | <!-- figure:speed -->{}<!-- /figure --> | <!-- figure:speed -->4"
    text = cell + "<!-- /figure --> |\n" + OLD
    results = {"dct": {"rows": [{"value": 3}]}}
    found, changed = tables.refresh(text.format("old"), results, RENDER)
    assert found.count("-->| 3 |<!--") == 2
    assert NEW in found
    assert changed == ["speed"] * 3
    assert tables.refresh(found, results, RENDER) == (found, [])
    for broken in ("<!-- figure:speed -->4", "<!-- figure:speed -->\n<!-- /figure -->"):
        with pytest.raises(ValueError, match="figure mark has no partner in its line"):
            tables.refresh(broken, results, RENDER)


def test_figures_of_systems_follow_their_rows():
    from benchmarks import _system_figures

    results = tables.load()
    row = next(r for r in results["fedrewind"]["rows"] if r.get("method") == "cwt")
    before = _system_figures.fedrewind(results)
    row["fa"] += 50.0
    assert _system_figures.fedrewind(results) != before
    assert "without rewind" in before
    with pytest.raises(ValueError, match="fedrewind has no row with"):
        _system_figures.fedrewind({"fedrewind": {"rows": []}})
    rings = [
        {"kind": "run", "model": model, "dice": dice}
        for model, dice in (("full", 0.5), ("full", 0.7), ("U-Net", 0.25))
    ]
    text = _system_figures.lung_ssfnet(
        {**results, "lung_ssfnet_rings": {"rows": rings}}
    )
    assert "thin rings, Dice in percent: full 60.0, U-Net 25.0; " in text


def test_summarize():
    expected = {"median": 3.0, "min": 1.0, "max": 10.0, "iqr": 2.0, "n": 5}
    assert _results.summarize([4, 1, 10, 2, 3]) == expected
    with pytest.raises(ValueError, match="`samples` must not be empty"):
        _results.summarize([])


def test_interleave_takes_turns():
    calls: list[str] = []
    functions = {name: lambda name=name: calls.append(name) for name in "ABC"}
    seconds = _results.interleave(functions, repeats=3, warmup=2)
    assert "".join(calls) == "AABBCC" + "ABC" + "CBA" + "ABC"
    assert {name: len(values) for name, values in seconds.items()} == dict.fromkeys(
        "ABC", 3
    )
    assert min(min(values) for values in seconds.values()) >= 0


def test_interleave_waits_for_results(monkeypatch: pytest.MonkeyPatch):
    waited: list[str] = []
    monkeypatch.setattr(_results.jax, "block_until_ready", waited.append)
    _results.interleave({"a": lambda: "result"}, repeats=2, warmup=1)
    assert waited == ["result"] * 3


def test_interleave_refuses_no_repeats():
    with pytest.raises(ValueError, match="`repeats` must be at least 1, got 0"):
        _results.interleave({"a": lambda: None}, repeats=0)


def test_environment():
    found = _results.environment(peers=["scipy"])
    assert re.fullmatch(r"unknown|[0-9a-f]{40}(\+dirty)?", found["commit"])
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date"])
    assert found["cores"] >= 1
    assert found["separax"] == "0.1.0"
    assert set(found["peers"]) == {"scipy"}
    for name in ("python", "jax", "jaxlib", "numpy", "optax", "device", "cpu", "os"):
        assert found[name]
        assert isinstance(found[name], str)


def test_commit_says_dirty(tmp_path: Path):
    def git(*arguments: str) -> None:
        identity = ["-c", "user.name=a", "-c", "user.email=a@example.org"]
        command = ["git", "-C", str(tmp_path), *identity, *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    assert _results._commit(tmp_path) == "unknown"
    git("commit", "--allow-empty", "-m", "first")
    assert re.fullmatch("[0-9a-f]{40}", _results._commit(tmp_path))
    (tmp_path / "benchmarks" / "results").mkdir(parents=True)
    (tmp_path / "benchmarks" / "results" / "dct.json").write_text("{}")
    assert not _results._commit(tmp_path).endswith("+dirty")
    (tmp_path / "file").write_text("x")
    assert _results._commit(tmp_path).endswith("+dirty")


def test_write_is_plain_and_stable(tmp_path: Path):
    rows = [{"n": np.int64(8), "error": jnp.float32(0.5), "all": np.arange(2)}]

    def write() -> Path:
        folder = tmp_path / "new"
        return _results.write(
            "dct_speed", rows, claim="Halves.", notes=["One."], folder=folder
        )

    path = write()
    first = path.read_bytes()
    assert first.endswith(b"}\n")
    result = json.loads(first)
    assert list(result) == ["claim", "environment", "notes", "rows"]
    assert result["rows"] == [{"n": 8, "error": 0.5, "all": [0, 1]}]
    assert result["notes"] == ["One."]
    assert write().read_bytes() == first


@pytest.mark.parametrize(
    ("name", "rows", "claim", "message"),
    [
        ("DCT speed", [{"n": 1}], "c", "`name` must be of a-z, 0-9 and _, got 'DCT"),
        ("dct", [], "c", "dct must have a `claim` and at least one row"),
        ("dct", [{"n": 1}], " ", "dct must have a `claim` and at least one row"),
        ("dct", [{"n": np.nan}], "c", "dct has a value that is not finite"),
    ],
)
def test_write_refuses(tmp_path: Path, name, rows, claim, message):
    with pytest.raises(ValueError, match=re.escape(message)):
        _results.write(name, rows, claim=claim, folder=tmp_path)
    assert not list(tmp_path.iterdir())


def test_write_refuses_other_types(tmp_path: Path):
    with pytest.raises(TypeError, match=r"no JSON for .* of type object"):
        _results.write("dct", [{"n": object()}], claim="c", folder=tmp_path)


def test_check_names_stale_tables_and_changes_nothing(repository: Path):
    assert tables.renew(repository, RENDER, check=True) == ["README.md: speed"]
    assert (repository / "README.md").read_text() == OLD


def test_renewed_tables_are_current(repository: Path):
    assert tables.renew(repository, RENDER) == ["README.md: speed"]
    assert (repository / "README.md").read_text() == NEW
    assert tables.renew(repository, RENDER, check=True) == []


def test_no_documents(tmp_path: Path):
    assert tables.renew(tmp_path, RENDER, check=True) == []


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!-- table:other -->\n<!-- /table -->\n", "table `other` has no render"),
        ("<!-- table:speed -->\n", "a table mark has no partner"),
        ("<!-- /table -->\n", "a table mark has no partner"),
        (2 * "<!-- table:speed -->\n" + "<!-- /table -->\n", "stands inside a table"),
        ("<!-- table:a b -->\n<!-- /table -->\n", "a table mark has no partner"),
    ],
)
def test_bad_marks_name_the_file(repository: Path, text: str, message: str):
    (repository / "README.md").write_text(text)
    with pytest.raises(ValueError, match=rf"README\.md: .*{message}"):
        tables.renew(repository, RENDER)


def test_missing_result_is_named(repository: Path):
    (repository / "benchmarks" / "results" / "dct.json").unlink()
    with pytest.raises(ValueError, match=r"README\.md: no benchmarks/results/dct\.js"):
        tables.renew(repository, RENDER)


def test_command_line(
    repository: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    def run(*arguments: str) -> tuple[int, str]:
        monkeypatch.setattr(tables.renew, "__defaults__", (repository, RENDER))
        status = tables.main(arguments)
        captured = capsys.readouterr()
        return status, captured.out + captured.err

    assert run("--check") == (1, "out of date: README.md: speed\n")
    assert run() == (0, "renewed: README.md: speed\n")
    assert run("--check") == (0, "")
    (repository / "README.md").write_text("<!-- table:speed -->\n")
    status, said = run("--check")
    assert status == 1
    assert "README.md: a table mark has no partner" in said
