import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.traces import (
    LinkTrace,
    guess_mode,
    load_link_trace,
    load_link_traces,
    load_rtt_runs,
    save_link_trace,
    scan_link_traces,
)

LOG = """\
1454606892659 94 51.05 3.69 0 94
1454606893659 1094 51.05 3.69 4000000 1000
1454606894660 2095 51.05 3.69 2002000 1001
"""
CSV = """\
t_ms,duration_ms,bytes,mbps
94,94,0,0.000000
1094,1000,4000000,32.000000
2095,1001,2002000,16.000000
"""


def write(folder, name, text):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def test_belgium_log_and_csv_are_the_same_recording(tmp_path):
    log = load_link_trace(write(tmp_path, "report_car_0001.log", LOG))
    table = load_link_trace(write(tmp_path, "report_car_0001.csv", CSV))
    assert log.equals(table)
    assert log.edges_s.tolist() == pytest.approx([0, 0.094, 1.094, 2.095])
    assert log.rate_bps.tolist() == pytest.approx([0, 32e6, 16e6])
    assert (log.name, log.mode, log.direction) == ("report_car_0001", "car", "downlink")
    found = scan_link_traces(tmp_path)
    assert len(found.traces) == 1
    assert [item.broken for item in found.skipped] == [False]
    assert "same recording" in found.skipped[0].reason


def test_belgium_gap_is_an_outage_and_jitter_is_not(tmp_path):
    text = "t_ms,duration_ms,bytes,mbps\n1000,1000,1000,0.008\n5000,1000,1000,0.008\n6010,1000,1000,0.008\n"
    trace = load_link_trace(write(tmp_path, "a.csv", text))
    assert trace.edges_s.tolist() == [0, 1, 4, 5, 6.01]
    assert trace.rate_bps[1] == 0.0
    assert trace.total_bytes == pytest.approx(3000)


def test_nyu_mets_with_a_missing_stretch(tmp_path):
    trace = load_link_trace(write(tmp_path, "Ferry_Ferry9.csv", "t_s,mbps\n10,1.0\n11,2.0\n14,4.0\n15,5.0\n"))
    assert trace.edges_s.tolist() == [0, 1, 2, 4, 5, 6]
    assert trace.rate_bps.tolist() == [1e6, 2e6, 0.0, 4e6, 5e6]
    assert (trace.mode, trace.direction) == ("ferry", "unknown")


def test_mahimahi_counts_repeated_lines(tmp_path):
    trace = load_link_trace(write(tmp_path, "att.up", "0\n0\n100\n101\n101\n250\n"))
    assert trace.edges_s.tolist() == pytest.approx([0, 0.1, 0.2, 0.25])
    assert (trace.rate_bps * np.diff(trace.edges_s) / 8 / 1500).tolist() == pytest.approx([3, 2, 1])


def test_plain_csv_with_rtt_and_notes(tmp_path):
    text = "# mode: bus\n# direction: uplink\n# end_s: 9\nt_s,rate_mbps,rtt_ms\n5,1.5,20\n7,0,30\n"
    trace = load_link_trace(write(tmp_path, "mine.csv", text))
    assert trace.edges_s.tolist() == [0, 2, 4]
    assert trace.rate_bps.tolist() == [1.5e6, 0.0]
    assert trace.rtt_s.tolist() == [0.02, 0.03]
    assert (trace.mode, trace.direction, trace.name) == ("bus", "uplink", "mine")
    short = load_link_trace(write(tmp_path, "short.csv", "t_s,rate_mbps\n0,1\n2,3\n"))
    assert short.duration_s == 4.0


def test_nuwins_runs_are_paired_with_pings(tmp_path):
    ruler = "#" * 31
    throughput = f"{ruler}\nRun 1\n1.0,2.0,3.0\n{ruler}\nRun 2\n4.0,5.0\n"
    path = write(tmp_path, "throughput/walking/lte/away.list", throughput)
    write(tmp_path, "ping/walking/lte/away.list", f"{ruler}\nRun 1\n20.0,40.0\n")
    traces = load_link_traces(tmp_path)
    assert [trace.name for trace in traces] == ["lte-walking-away-run1", "lte-walking-away-run2"]
    assert traces[0].rate_bps.tolist() == [1e6, 2e6, 3e6]
    assert traces[0].rtt_s.tolist() == [0.02, 0.04, 0.02]
    assert traces[1].edges_s.tolist() == pytest.approx([0, 0.1, 0.2])
    assert (traces[0].mode, traces[0].direction) == ("walking", "uplink")
    assert load_link_trace(path, run=2).rate_bps.tolist() == [4e6, 5e6]
    with pytest.raises(InputError, match="must hold one recording"):
        load_link_trace(path)
    with pytest.raises(InputError, match="run: must be from 1 to 2"):
        load_link_trace(path, run=3)
    assert [(run.technology, run.mode) for run in load_rtt_runs(tmp_path)] == [("lte", "walking")]


def test_nuwins_four_row_runs_use_the_first_interface(tmp_path):
    text = "Run 1\n0.1,0.2,0.3\n1,2,3\n0.083,0.183,0.1\n9,9,9\n"
    trace = load_link_trace(write(tmp_path, "x.list", text))
    assert trace.rate_bps.tolist() == [1e6, 2e6, 3e6]
    text = "Run 1\n0.1,0.2\n1,2,3\n"
    with pytest.raises(InputError, match=r"line \d"):
        load_link_trace(write(tmp_path, "y.list", text))


@pytest.mark.parametrize(
    ("name", "text", "parts"),
    [
        ("empty.csv", "", ["must contain data"]),
        ("head.csv", "t_ms,duration_ms,bytes,mbps\n", ["at least one row", "truncated"]),
        ("cut.csv", CSV[: CSV.rindex(",")], ["line 4", "must have 4 fields", "truncated"]),
        ("cut.log", LOG[: LOG.rindex(" ")], ["line 3", "must have 6 fields", "truncated"]),
        ("back.csv", CSV.replace("2095,", "1000,"), ["line 4, t_ms", "later", "1000"]),
        ("back.log", LOG.replace("1454606894660", "1454606893659"), ["line 3, epoch_ms", "later"]),
        ("same.csv", "t_s,mbps\n0,1\n0,2\n", ["line 3, t_s", "later"]),
        ("zeros.csv", "t_s,mbps\n0,0\n1,0\n", ["at least one byte", "zero"]),
        ("zeros.log", LOG.replace("4000000", "0").replace("2002000", "0"), ["at least one byte"]),
        ("negative.csv", "t_s,mbps\n0,1\n1,-2\n", ["line 3, mbps", "must not be negative", "-2"]),
        ("nan.csv", "t_s,mbps\n0,1\n1,nan\n", ["line 3, mbps", "finite"]),
        ("inf.csv", "t_s,rate_mbps\n0,1\n1,inf\n", ["line 3, rate_mbps", "finite"]),
        ("word.csv", "t_s,mbps\n0,1\n1,fast\n", ["line 3, mbps", "must be a number", "fast"]),
        ("columns.csv", "time,speed\n0,1\n", ["header", "must be", "time,speed"]),
        ("mbps.csv", CSV.replace("16.000000", "99.0"), ["line 4, mbps", "must equal"]),
        ("overlap.csv", CSV.replace("2095,1001", "2095,1500"), ["line 4, duration_ms", "must not reach back"]),
        ("duration.csv", CSV.replace("2095,1001", "2095,0"), ["line 4, duration_ms", "must be positive"]),
        ("rtt.csv", "t_s,rate_mbps,rtt_ms\n0,1,0\n", ["line 2, rtt_ms", "must be positive"]),
        ("end.csv", "# end_s: 0.5\nt_s,rate_mbps\n0,1\n1,1\n", ["end_s", "must be after"]),
        ("mahi", "5\n3\n", ["line 2, delivery_ms", "must not be earlier"]),
        ("mahi2", "0\n0\n", ["delivery_ms", "after 0 ms"]),
        ("mahi3", "1.5\n3\n", ["line 1, delivery_ms", "whole number"]),
        ("run.list", "Run 1\n1.0,-3.0\n", ["line 2, value 2", "not negative"]),
        ("run2.list", "Run 1\n1.0,x\n", ["line 2, value 2", "must be a number"]),
        ("run3.list", "Run 1\n1.0,2.0\nRun 2\n", ["Run 2", "must have values", "truncated"]),
        ("run4.list", "Run 1\n0.0,0.0\n", ["Run 1", "at least one byte"]),
        ("what.txt", "a b c\n", ["header"]),
        ("four.txt", "1 2 3 4\n", ["formats"]),
        ("binary.csv", "t_s\0", ["text file"]),
    ],
)
def test_bad_files_say_where_and_why(tmp_path, name, text, parts):
    path = write(tmp_path, name, text)
    with pytest.raises(InputError) as caught:
        load_link_trace(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    for part in parts:
        assert part in message


def test_missing_paths_and_formats(tmp_path):
    with pytest.raises(InputError, match="existing file or folder"):
        load_link_traces(tmp_path / "none")
    with pytest.raises(InputError, match="readable file"):
        load_link_trace(tmp_path / "none.csv")
    path = write(tmp_path, "a.csv", CSV)
    with pytest.raises(InputError, match="did you mean 'nyu-mets'"):
        load_link_trace(path, format="nyu-met")
    with pytest.raises(InputError, match=r"must (have|be)"):
        load_link_trace(path, format="mahimahi")


def test_folder_with_other_and_broken_files(tmp_path):
    write(tmp_path, "good/report_bus_0001.csv", CSV)
    write(tmp_path, "table.csv", "a,b\n1,2\n")
    write(tmp_path, "README.md", "text")
    assert [trace.name for trace in load_link_traces(tmp_path)] == ["report_bus_0001"]
    write(tmp_path, "broken.csv", CSV.replace("2095,", "1000,"))
    found = scan_link_traces(tmp_path)
    assert [item.path.name for item in found.skipped if item.broken] == ["broken.csv"]
    with pytest.raises(InputError, match=r"broken.csv: line 4, t_ms: must be later"):
        load_link_traces(tmp_path)
    (tmp_path / "void").mkdir()
    with pytest.raises(InputError, match="at least one link trace"):
        load_link_traces(tmp_path / "void")


def test_saving_keeps_every_digit(tmp_path):
    rng = np.random.default_rng(1)
    edges = np.concatenate([[0.0], np.cumsum(rng.uniform(0.5, 1.5, 50))])
    trace = LinkTrace("a\nb", "tram", edges, rng.uniform(0, 1e8, 50), rng.uniform(0.01, 0.2, 50), "s", "uplink")
    save_link_trace(trace, tmp_path / "x.csv")
    back = load_link_trace(tmp_path / "x.csv")
    assert back.fingerprint == trace.fingerprint
    assert (back.name, back.mode, back.direction) == ("a b", "tram", "uplink")
    with pytest.raises(InputError, match="must not exist yet"):
        save_link_trace(trace, tmp_path / "x.csv")
    save_link_trace(trace.scaled(2.0), tmp_path / "x.csv", force=True)
    assert load_link_trace(tmp_path / "x.csv").mean_bps == pytest.approx(2 * trace.mean_bps)
    assert [path.name for path in tmp_path.iterdir()] == ["x.csv"]


@pytest.mark.parametrize(
    ("name", "mode"),
    [
        ("report_bicycle_0001.csv", "bicycle"),
        ("7Train_7BtrainNew.csv", "subway"),
        ("QTrain_QtrainNew.csv", "subway"),
        ("Subway_D_Train_d1.csv", "subway"),
        ("BusBrooklyn_bus57New.csv", "bus"),
        ("LIRR_Long_Island_Rail_Road.csv", "train"),
        ("Car_Car_1.csv", "car"),
        ("cartography.csv", "unknown"),
        ("x.csv", "unknown"),
    ],
)
def test_modes_from_names(tmp_path, name, mode):
    from pathlib import Path

    assert guess_mode(Path(name)) == mode


class TestRecordedData:
    def test_belgium(self, data_dir):
        found = scan_link_traces(data_dir / "belgium4g")
        assert len(found.traces) == 29
        assert sum("same recording" in item.reason for item in found.skipped) == 4
        assert not any(item.broken for item in found.skipped)
        assert {trace.mode for trace in found.traces} == {"foot", "bicycle", "bus", "car", "train", "tram"}
        assert max(np.diff(trace.edges_s).max() for trace in found.traces) == pytest.approx(8.999)
        for trace in found.traces:
            assert trace.resample(1.0).total_bytes == pytest.approx(trace.total_bytes, rel=1e-12)

    @pytest.mark.parametrize("name", ["report_car_0003", "report_car_0004", "report_car_0007", "report_foot_0001"])
    def test_both_belgium_forms(self, data_dir, name):
        log = load_link_trace(data_dir / "belgium4g" / "raw" / f"{name}.log")
        assert log.equals(load_link_trace(data_dir / "belgium4g" / f"{name}.csv"))

    def test_bytes_are_those_of_the_file(self, data_dir):
        path = data_dir / "belgium4g" / "report_train_0002.csv"
        total = np.loadtxt(path, delimiter=",", skiprows=1)[:, 2].sum()
        assert load_link_trace(path).total_bytes == pytest.approx(total, rel=1e-12)

    def test_nyu_mets_and_nuwins(self, data_dir):
        nyu = scan_link_traces(data_dir / "nyu_mets_lte")
        assert (len(nyu.traces), len(nyu.skipped)) == (22, 0)
        assert "unknown" not in {trace.mode for trace in nyu.traces}
        nuwins = scan_link_traces(data_dir / "nuwins_uplink")
        assert len(nuwins.traces) == 132
        assert all(trace.rtt_s is not None for trace in nuwins.traces)
        assert not any(item.broken for item in nuwins.skipped)

    def test_whole_folder_loads(self, data_dir):
        found = scan_link_traces(data_dir)
        assert len(found.traces) == 29 + 22 + 132
        assert not any(item.broken for item in found.skipped)
