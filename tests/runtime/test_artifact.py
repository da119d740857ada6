"""A damaged, altered or hostile artifact is refused with one line, and never runs."""

import json
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgecloud.agents.export import export_policy
from edgecloud.envs import Problem
from edgecloud.envs.measure import width
from edgecloud.errors import InputError
from edgecloud.runtime import Policy
from edgecloud.runtime.artifact import FORMAT, KIND, MAX_BYTES, read_artifact, write_artifact
from edgecloud.runtime.onnx_check import OPERATORS, check_graph


def members_of(path: Path) -> dict[str, bytes]:
    with zipfile.ZipFile(path) as archive:
        return {name: archive.read(name) for name in archive.namelist()}


def pack(path: Path, members: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return path


def facts_and_graph(path: Path) -> tuple[dict[str, Any], bytes]:
    found = read_artifact(path)
    return {name: value for name, value in found.manifest.items() if name not in ("format", "kind")}, found.graph


def repacked(source: Path, target: Path, change: Callable[[dict[str, Any]], None]) -> Path:
    """An artifact with another manifest and right digests."""
    facts, graph = facts_and_graph(source)
    change(facts)
    write_artifact(target, facts, graph)
    return target


def test_the_same_policy_gives_the_same_bytes(trained: Path, problem: Problem, artifact: Path, tmp_path: Path) -> None:
    exported = export_policy(trained, problem)
    digest = write_artifact(tmp_path / "again.edgecloud", exported.facts, exported.graph)
    assert (tmp_path / "again.edgecloud").read_bytes() == artifact.read_bytes()
    assert Policy.load(artifact, digest.upper()).sha256 == digest
    with pytest.raises(InputError, match=r"sha256: must be 00.*not the file that was exported"):
        Policy.load(artifact, "00" * 32)


def test_what_it_holds(artifact: Path, problem: Problem, trained: Path) -> None:
    members = members_of(artifact)
    assert sorted(members) == ["SHA256SUMS", "manifest.json", "policy.onnx"]
    manifest = json.loads(members["manifest.json"])
    assert (manifest["format"], manifest["kind"]) == (FORMAT, KIND)
    assert manifest["scenario"]["fingerprint"] == problem.fingerprint()
    assert manifest["actions"]["placements"] == problem.placements.tolist()
    assert manifest["actions"]["thresholds"][-1] is None
    assert manifest["control"]["pool_review"] == 7
    assert manifest["observation"] == problem.encoder.to_dict()
    assert manifest["provenance"]["run"] == "quick-run"
    assert manifest["provenance"]["seed"] == 0
    assert str(trained.parent) not in members["manifest.json"].decode()
    used = {node.op_type for node in onnx.load_from_string(members["policy.onnx"]).graph.node}
    assert used <= OPERATORS


def test_every_altered_byte_is_noticed(artifact: Path, tmp_path: Path) -> None:
    content = artifact.read_bytes()
    target = tmp_path / "altered.edgecloud"
    original = read_artifact(artifact)
    for at in np.random.default_rng(0).integers(0, len(content), 150).tolist():
        target.write_bytes(content[:at] + bytes([content[at] ^ 0x40]) + content[at + 1 :])
        try:
            found = read_artifact(target)
        except InputError:
            continue
        assert (found.manifest, found.graph) == (original.manifest, original.graph)  # a time stamp, for example


@pytest.mark.parametrize("name", ["manifest.json", "policy.onnx"])
def test_an_altered_member_is_named(name: str, artifact: Path, tmp_path: Path) -> None:
    members = members_of(artifact)
    members[name] = members[name][:-1] + b" "
    with pytest.raises(InputError, match=f"{name}: was altered: its SHA-256"):
        Policy.load(pack(tmp_path / "x.edgecloud", members))


@pytest.mark.parametrize("length", [0, 10, 2000])
def test_truncated_files_are_refused(length: int, artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "cut.edgecloud"
    path.write_bytes(artifact.read_bytes()[:length])
    with pytest.raises(InputError, match="damaged, truncated or something else"):
        Policy.load(path)


def test_missing_and_foreign_files_are_refused(tmp_path: Path, trained: Path) -> None:
    with pytest.raises(InputError, match="must be a readable policy file"):
        Policy.load(tmp_path / "none.edgecloud")
    with pytest.raises(InputError, match="must be a readable policy file"):
        Policy.load(tmp_path)
    with pytest.raises(InputError, match=r"members: must be manifest.json"):
        Policy.load(trained / "best.npz")
    members = {"../evil": b"", "manifest.json": b"{}", "policy.onnx": b""}
    with pytest.raises(InputError, match="members"):
        Policy.load(pack(tmp_path / "x.edgecloud", members))


def test_bombs_are_not_unpacked(artifact: Path, tmp_path: Path) -> None:
    members = {**members_of(artifact), "manifest.json": b" " * (9 << 20)}
    bomb = pack(tmp_path / "bomb.edgecloud", members)
    assert bomb.stat().st_size < 200_000
    with pytest.raises(InputError, match=r"manifest.json: must not unpack to more than"):
        Policy.load(bomb)
    content = bytearray(bomb.read_bytes())  # and the same with a size in its headers that lies
    size, lie = (9 << 20).to_bytes(4, "little"), (100).to_bytes(4, "little")
    bomb.write_bytes(bytes(content).replace(size, lie))
    with pytest.raises(InputError):
        Policy.load(bomb)
    big = tmp_path / "big.edgecloud"
    with big.open("wb") as file:
        file.truncate(MAX_BYTES + 1)
    with pytest.raises(InputError, match="must not be larger than"):
        Policy.load(big)


def test_members_cannot_come_twice(artifact: Path, tmp_path: Path) -> None:
    path = tmp_path / "twice.edgecloud"
    path.write_bytes(artifact.read_bytes())
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "a") as archive:
        archive.writestr("manifest.json", b"{}")
    with pytest.raises(InputError, match="members"):
        Policy.load(path)


def test_newer_and_other_formats_are_refused(artifact: Path, tmp_path: Path) -> None:
    def written_as(**changes: Any) -> Path:
        facts, graph = facts_and_graph(artifact)
        write_artifact(tmp_path / "x.edgecloud", {**facts, **changes}, graph)
        return tmp_path / "x.edgecloud"

    with pytest.raises(InputError, match=r"manifest.json.format: must be at most 1: .*newer version. Got 2.*update"):
        Policy.load(written_as(format=2))
    for value in ("1", 0, True, None):
        with pytest.raises(InputError, match=r"manifest.json.format: must be 1"):
            Policy.load(written_as(format=value))
    with pytest.raises(InputError, match=r"manifest.json.kind: must be 'edgecloud-policy'"):
        Policy.load(written_as(kind="recipe"))


CHANGES = {
    "no measurements": (lambda f: f.pop("measurements"), "measurements: is missing"),
    "no own field": (lambda f: f["measurements"].pop(17), "must have 'placement' with one column"),
    "negative size": (lambda f: f["measurements"][0].update(size=-4), r"measurements\[0\]: must be a measurement"),
    "huge size": (lambda f: f["measurements"][0].update(size=99_999), "must have at most 4096 columns"),
    "other width": (
        lambda f: f["measurements"][0].update(size=3),
        "policy.onnx: must be a graph that onnxruntime runs",
    ),
    "cut beyond": (lambda f: f["actions"]["placements"][0].__setitem__(1, 99), r"placements\[0\]: must be a whole"),
    "fewer placements": (lambda f: f["actions"]["placements"].pop(), "actions"),
    "fewer targets": (lambda f: f["actions"].update(vm_targets=2), "must have outputs that fit"),
    "other route": (lambda f: f["actions"]["routes"].append("rm -rf"), r"routes\[3\]: must be 'vm', 'faas' or 'spill'"),
    "threshold": (lambda f: f["actions"]["thresholds"].__setitem__(0, 7.0), r"thresholds\[0\]: must be a confidence"),
    "start": (lambda f: f["actions"].update(start=[0, 0, 0]), "start: must be an action"),
    "no interval": (lambda f: f["control"].update(interval_s=0), "interval_s: must be positive"),
    "review": (lambda f: f["control"].update(pool_review=0), "pool_review: must be a whole number from 1"),
}


@pytest.mark.parametrize("case", CHANGES)
def test_wrong_facts_are_named(case: str, artifact: Path, tmp_path: Path) -> None:
    change, message = CHANGES[case]
    with pytest.raises(InputError, match=message):
        Policy.load(repacked(artifact, tmp_path / "x.edgecloud", change))


def model(*nodes: Any, tensors: tuple[Any, ...] = (), functions: tuple[Any, ...] = ()) -> bytes:
    graph = helper.make_graph(
        list(nodes),
        "g",
        [helper.make_tensor_value_info("measurements", TensorProto.DOUBLE, ["N", width()])],
        [helper.make_tensor_value_info("choice", TensorProto.DOUBLE, None)],
        list(tensors),
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("evil", 1)]
    whole = helper.make_model(graph, opset_imports=opsets, functions=list(functions))
    return whole.SerializeToString()


def external() -> Any:
    tensor = numpy_helper.from_array(np.zeros(4, dtype=np.float32), "t")
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="../../etc/passwd")
    return tensor


def node(operator: str, **attributes: Any) -> Any:
    return helper.make_node(operator, ["measurements"], ["choice"], **attributes)


SUBGRAPH = helper.make_graph([node("Relu")], "inner", [], [])
HOSTILE = {
    "loop": (model(node("Loop", body=SUBGRAPH)), "graphs inside its nodes|only the operators"),
    "hidden graph": (model(node("Relu", body=SUBGRAPH)), "graphs inside its nodes"),
    "other operator": (model(node("Exp")), "only the operators of an exported policy. Got 'Exp'"),
    "other domain": (model(node("Relu", domain="evil")), "only the operators.*evil.Relu"),
    "other files": (model(node("Relu"), tensors=(external(),)), "must not refer to other files"),
    "functions": (
        model(
            node("Relu"),
            functions=(helper.make_function("evil", "f", ["x"], ["y"], [], [helper.make_opsetid("", 17)]),),
        ),
        "functions or training",
    ),
    "too many nodes": (model(*[node("Relu")] * 1001), "at most 1000 nodes"),
    "no nodes": (model(), "must have nodes"),
    "empty": (b"", "with one graph"),
    "text": (b"not a model at all", "damaged or something else"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_graphs_never_reach_onnxruntime(case: str, artifact: Path, tmp_path: Path) -> None:
    content, message = HOSTILE[case]
    with pytest.raises(InputError, match=message):
        check_graph(content, "x")
    members = {**members_of(artifact), "policy.onnx": content}
    with pytest.raises(InputError):  # even with digests that fit
        Policy.load(pack(tmp_path / "x.edgecloud", {**members, "SHA256SUMS": _sums(members)}))
    facts, _ = facts_and_graph(artifact)
    with pytest.raises(InputError, match=message):
        write_artifact(tmp_path / "y.edgecloud", facts, content)


def _sums(members: dict[str, bytes]) -> bytes:
    import hashlib

    return "".join(
        f"{hashlib.sha256(members[n]).hexdigest()}  {n}\n" for n in ("manifest.json", "policy.onnx")
    ).encode()


def test_a_graph_that_does_not_fit_is_refused(artifact: Path, tmp_path: Path) -> None:
    facts, _ = facts_and_graph(artifact)
    write_artifact(tmp_path / "x.edgecloud", facts, model(node("Relu")))
    with pytest.raises(InputError, match=r"policy.onnx: must be a graph that onnxruntime runs"):
        Policy.load(tmp_path / "x.edgecloud")


@given(st.binary(max_size=400))
def test_any_bytes_are_a_graph_or_an_input_error(content: bytes) -> None:
    try:
        check_graph(content, "x")
    except InputError:
        return
    onnx.load_from_string(content)  # what passes is at least protobuf of the kind


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(data=st.data())
def test_any_damage_to_a_graph_is_an_input_error_or_harmless(data: st.DataObject, artifact: Path) -> None:
    graph = read_artifact(artifact).graph
    at = data.draw(st.integers(0, len(graph) - 1))
    cut = data.draw(st.binary(max_size=8))
    try:
        check_graph(graph[:at] + cut + graph[at + len(cut) :], "x")
    except InputError:
        return


def test_an_unwritable_place_is_an_input_error(artifact: Path, tmp_path: Path) -> None:
    facts, graph = facts_and_graph(artifact)
    with pytest.raises(InputError, match="must be a file that can be written"):
        write_artifact(tmp_path / "no" / "such" / "x.edgecloud", facts, graph)
