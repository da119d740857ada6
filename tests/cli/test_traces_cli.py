import os

import pytest
from typer.testing import CliRunner

from edgecloud.cli.traces import app
from edgecloud.errors import InputError
from edgecloud.traces import load_link_traces

PLAIN = "# mode: bus\n# direction: uplink\nt_s,rate_mbps,rtt_ms\n0,8,20\n1,0,25\n2,4,30\n"


@pytest.fixture
def run():
    def call(*arguments, check=True):
        result = CliRunner().invoke(app, [str(argument) for argument in arguments])
        if check:
            assert result.exit_code == 0, result.output
        return result

    return call


@pytest.fixture
def folder(tmp_path):
    where = tmp_path / "in"
    where.mkdir()
    (where / "one.csv").write_text(PLAIN)
    (where / "two.csv").write_text(PLAIN.replace("0,8,20", "0,9,20"))
    (where / "other.csv").write_text("a,b\n1,2\n")
    return where


def test_list_names_recordings_and_skipped_files(run, folder):
    output = run("list", folder).output
    for part in ("one", "two", "bus", "uplink", "33.3", "1 files skipped"):
        assert part in output
    assert "other.csv" in run("list", folder, "--skipped").output
    (folder / "bad.csv").write_text("t_s,mbps\n1,1\n0,1\n")
    assert "bad.csv: line 3, t_s: must be later" in run("list", folder).output


def test_list_uses_the_environment_and_says_what_to_do_without(run, folder, monkeypatch):
    monkeypatch.setenv("EDGECLOUD_TRACES", str(folder))
    assert "one" in run("list").output
    monkeypatch.delenv("EDGECLOUD_TRACES")
    result = run("list", check=False)
    assert isinstance(result.exception, InputError)
    assert "edgecloud traces sources" in str(result.exception)


def test_show_and_its_alias(run, folder):
    for command in ("show", "summarise"):
        output = run(command, folder).output
        assert "bus" in output
        assert "33.33" in output


def test_plot_writes_a_picture_once(run, folder, tmp_path):
    out = tmp_path / "p.png"
    run("plot", folder, "--out", out)
    assert out.read_bytes().startswith(b"\x89PNG")
    assert isinstance(run("plot", folder, "--out", out, check=False).exception, InputError)
    run("plot", folder, "--out", out, "--force")


def test_import_converts_and_never_overwrites(run, folder, tmp_path):
    target = tmp_path / "out"
    run("import", folder, target)
    before, after = load_link_traces(folder), load_link_traces(target)
    assert [trace.fingerprint for trace in before] == [trace.fingerprint for trace in after]
    (target / "two.csv").unlink()
    stamp = os.stat(target / "one.csv").st_mtime_ns
    result = run("import", folder, target, check=False)
    assert "must not exist yet (1 of 2 files do)" in str(result.exception)
    assert not (target / "two.csv").exists()
    assert os.stat(target / "one.csv").st_mtime_ns == stamp
    run("import", folder, target, "--force")
    assert (target / "two.csv").exists()


def test_import_keeps_names_inside_the_folder(run, tmp_path):
    (tmp_path / "x.csv").write_text("# name: ../../evil\n" + PLAIN)
    run("import", tmp_path / "x.csv", tmp_path / "deep" / "out")
    assert [path.name for path in (tmp_path / "deep" / "out").iterdir()] == ["_.._evil.csv"]


def test_import_of_a_broken_recording_writes_nothing(run, folder, tmp_path):
    (folder / "bad.csv").write_text("t_s,mbps\n0,1\n1\n")
    result = run("import", folder, tmp_path / "out", check=False)
    assert "bad.csv: line 3: must have 2 fields" in str(result.exception)
    assert not (tmp_path / "out").exists()


def test_generate_then_fit(run, tmp_path):
    logs, models = tmp_path / "logs", tmp_path / "m.json"
    run("generate", logs, "--logs", 3, 1, 1, "--duration-s", 60, "--seed", 7)
    assert len(load_link_traces(logs / "train")) == 18
    output = run("fit", logs, "--out", models, "--report", tmp_path / "r.md").output
    assert "6 modes" in output
    assert "Kolmogorov" in (tmp_path / "r.md").read_text()
    assert isinstance(run("fit", logs, "--out", models, check=False).exception, InputError)
    run("generate", tmp_path / "again", "--logs", 1, 1, 1, "--duration-s", 20, "--models", models)


def test_sources_cite_and_give_licences(run):
    output = run("sources").output
    for part in ("Belgium 4G/LTE", "NYU-METS", "NUWiNS", "do not redistribute", "CC-BY-4.0", "ODbL", "IEEE Comm"):
        assert part in output


@pytest.mark.parametrize("command", ["list", "show", "plot", "import", "generate", "fit", "sources"])
def test_help_teaches(run, command):
    output = run(command, "--help").output
    assert command in output
    assert command == "sources" or "Example" in output
