import hashlib
import json
import pickle
from pathlib import Path

import numpy as np
import pytest

from edgecloud.errors import InputError
from edgecloud.profiles import list_profiles, load_profile, save_profile


@pytest.fixture
def saved(make_profile, tmp_path) -> Path:
    return save_profile(make_profile(), tmp_path)


def edit(path: Path, change) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def replace_table(path: Path, samples: int | None = None, **arrays: np.ndarray) -> None:
    """Put other arrays into the side file and the fitting digest into the JSON file."""
    side = path.with_suffix(".npz")
    np.savez_compressed(side, **arrays)
    digest = hashlib.sha256(side.read_bytes()).hexdigest()
    edit(path, lambda content: content["table"].update(sha256=digest, samples=samples or content["table"]["samples"]))


def fails(path: Path) -> InputError:
    with pytest.raises(InputError) as caught:
        load_profile(path)
    assert "\n" not in str(caught.value)
    assert path.stem in caught.value.source
    return caught.value


def test_round_trip(make_profile, saved, tmp_path):
    assert saved == tmp_path / "small.json"
    loaded = load_profile(saved)
    assert loaded.equals(make_profile())
    again = save_profile(loaded, tmp_path / "again" / "small.json")
    assert again.read_bytes() == saved.read_bytes()
    assert again.with_suffix(".npz").read_bytes() == saved.with_suffix(".npz").read_bytes()
    assert not list(tmp_path.rglob("*.part"))


def test_round_trip_from_a_string(make_profile, saved):
    assert load_profile(str(saved)).equals(make_profile())


def test_unknown_name_suggests():
    with pytest.raises(InputError, match=r"did you mean 'cifar10-ee-32'"):
        load_profile("cifar10-ee-33")
    with pytest.raises(InputError, match="shipped profile"):
        load_profile("../secret")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"nothing\.json: must be an existing"):
        load_profile(tmp_path / "nothing.json")


def test_not_json(saved):
    saved.write_text("{")
    assert "JSON" in fails(saved).rule
    saved.write_text("[1, 2]")
    fails(saved)


def test_newer_version(saved):
    edit(saved, lambda content: content.update(version=3))
    error = fails(saved)
    assert (error.field, error.value) == ("version", 3)


@pytest.mark.parametrize(
    ("change", "field", "words"),
    [
        (lambda c: c.update(format="other"), "format", "edgecloud-profile"),
        (lambda c: c.pop("leakage"), "leakage", "missing"),
        (lambda c: c.update(imput_bytes=3), "imput_bytes", "unknown key"),
        (lambda c: c["stages"][0].update(speed=3), "stages[0].speed", "unknown key"),
        (lambda c: c["stages"][1].update(latency_s=-0.1), "stages[1].latency_s", "greater than or equal to 0"),
        (lambda c: c["stages"][1].update(flops="many"), "stages[1].flops", "number"),
        (lambda c: c["exits"][0].update(after_stage=5), "exits[1].after_stage", "above 5"),
        (lambda c: c["exits"].pop(), "exits[0].after_stage", "final classifier"),
        (lambda c: c["leakage"]["values"].pop(), "leakage", "4 entries"),
        (lambda c: c["leakage"].update(values=[0.5, 0.4, 0.3, 0]), "leakage[0]", "must be 1"),
        (lambda c: c["reference"].update(effective_flops=5.0), "reference.effective_flops", "latency"),
        (lambda c: c["table"].update(file="../small.npz"), "table.file", "pattern"),
    ],
)
def test_broken_rules(saved, change, field, words):
    edit(saved, change)
    error = fails(saved)
    assert error.field == field
    assert words in error.rule


def test_misspelt_key_suggests(saved):
    edit(saved, lambda content: content.update(imput_bytes=3))
    assert fails(saved).remedy.startswith("did you mean 'input_bytes'")


def test_table_is_tied_to_the_json(saved):
    side = saved.with_suffix(".npz")
    side.write_bytes(side.read_bytes() + b"x")
    assert fails(saved).field == "sha256"
    side.unlink()
    assert "must exist" in fails(saved).rule


def test_table_of_wrong_content(saved):
    good = np.full((4, 2), 0.5, np.float32), np.ones((4, 2), bool)
    replace_table(saved, confidence=good[0])
    assert "confidence and correct" in fails(saved).rule
    replace_table(saved, confidence=good[0], correct=good[1].astype(int))
    assert fails(saved).field == "correct"
    replace_table(saved, confidence=good[0][:3], correct=good[1][:3])
    assert "4 rows" in fails(saved).rule
    replace_table(saved, samples=4, confidence=good[0], correct=good[1][:, :1])
    assert fails(saved).field == "correct"
    replace_table(saved, confidence=good[0] * 3, correct=good[1])
    assert fails(saved).field == "confidence[0,0]"


def test_a_pickle_is_never_loaded(saved, tmp_path):
    class Trap:
        def __reduce__(self):
            return (Path.touch, (tmp_path / "sprung",))

    trap = np.empty(4, dtype=object)
    trap[:] = Trap()
    side = saved.with_suffix(".npz")
    np.savez(side, confidence=trap, correct=np.ones((4, 2), bool))
    digest = hashlib.sha256(side.read_bytes()).hexdigest()
    edit(saved, lambda content: content["table"].update(sha256=digest))
    assert "plain arrays" in fails(saved).rule
    side.write_bytes(pickle.dumps(Trap()))
    digest = hashlib.sha256(side.read_bytes()).hexdigest()
    edit(saved, lambda content: content["table"].update(sha256=digest))
    assert "plain arrays" in fails(saved).rule
    assert not (tmp_path / "sprung").exists()


def test_a_failed_save_keeps_the_old_file(make_profile, saved):
    before = saved.read_bytes()
    with pytest.raises(ValueError, match="JSON compliant"):
        save_profile(make_profile(provenance={"bad": float("nan")}), saved)
    assert saved.read_bytes() == before
    assert load_profile(saved).equals(make_profile())


def test_list_profiles():
    assert {"cifar10-ee-32", "cifar10-ee-224"} <= set(list_profiles())
