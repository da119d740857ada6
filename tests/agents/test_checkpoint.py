"""Checkpoint files: exact, atomic, safe, and checked on reading."""

import pickle
import zipfile
from pathlib import Path

import numpy as np
import pytest

from edgecloud import InputError
from edgecloud.agents import PPOPolicy, checkpoint_path, is_trained, read_checkpoint, write_checkpoint
from edgecloud.agents.pool import PoolNetwork
from edgecloud.agents.ppo_policy import network_shapes

META = {
    "kind": "ppo",
    "fingerprint": "abc",
    "scenario": "test",
    "steps": 5,
    "hidden": [4],
    "activation": "tanh",
    "nvec": [3, 2, 2],
    "observation_size": 6,
    "private": 0,
    "pool_review": 10,
    "pool_hidden": 3,
    "pool_margin": 0.03,
}


def arrays() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shapes = network_shapes(6, (4,), 5)
    named = {f"policy/{name}": shape for name, shape in shapes.items()}
    named |= {f"pool/{name}": shape for name, shape in PoolNetwork.shapes(6, 3, 2).items()}
    return {name: rng.normal(size=shape).astype(np.float32) for name, shape in named.items()}


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "best.npz"
    write_checkpoint(path, META, arrays())
    return path


def test_round_trip(file: Path) -> None:
    checkpoint = read_checkpoint(file)
    assert checkpoint.meta == {"format": 1, **META}
    for name, array in arrays().items():
        assert np.array_equal(checkpoint.arrays[name], array)
    assert [p.name for p in file.parent.iterdir()] == ["best.npz"]


def test_kinds_of_arrays_survive(tmp_path: Path) -> None:
    odd = {
        "env/key": np.array([2**64 - 1], dtype=np.uint64),
        "env/nan": np.array([np.nan, np.inf]),
        "env/empty": np.zeros((2, 0)),
        "env/flag": np.array([True, False]),
        "optimizer/0.step": np.float32(3.0),
    }
    write_checkpoint(tmp_path / "x.npz", META, odd)
    found = read_checkpoint(tmp_path / "x.npz").arrays
    for name, array in odd.items():
        assert found[name].dtype == np.asarray(array).dtype
        np.testing.assert_array_equal(found[name], array)


@pytest.mark.parametrize("keep", [0, 1, 100, 0.5, 0.99])
def test_truncated(file: Path, keep: float) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: int(keep * len(content)) if isinstance(keep, float) else keep])
    with pytest.raises(InputError, match=r"best\.npz.*truncated, damaged"):
        PPOPolicy.load(file)


def test_a_flipped_bit(file: Path) -> None:
    content = bytearray(file.read_bytes())
    position = content.find(arrays()["policy/action_net.weight"].tobytes())
    assert position > 0
    content[position + 3] ^= 0x10
    file.write_bytes(bytes(content))
    with pytest.raises(InputError, match=r"best\.npz: policy/action_net\.weight\.npy: is damaged"):
        PPOPolicy.load(file)


def test_a_pickle_is_never_opened(tmp_path: Path) -> None:
    class Bomb:
        def __reduce__(self) -> tuple[object, ...]:
            return Path.touch, (tmp_path / "gone",)

    path = tmp_path / "evil.npz"
    path.write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(InputError, match="must be a checkpoint"):
        read_checkpoint(path)
    write_checkpoint(path, META, {})
    with zipfile.ZipFile(path, "a") as archive, archive.open("policy/x.npy", "w") as member:
        np.save(member, np.array([Bomb()], dtype=object), allow_pickle=True)
    with pytest.raises(InputError, match="must be a checkpoint"):
        read_checkpoint(path)
    assert not (tmp_path / "gone").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"format": 2}, r"meta\.format"),
        ({"hidden": []}, r"meta\.hidden"),
        ({"hidden": ["4"]}, r"meta\.hidden\.0"),
        ({"activation": "gelu"}, r"meta\.activation"),
        ({"nvec": [3, 3, 2]}, r"policy/action_net\.(weight|bias): must have shape"),
        ({"nvec": [3, 2, 4]}, r"pool/2\.(weight|bias): must have shape"),
        ({"pool_review": 0}, r"meta\.pool_review"),
        ({"pool_margin": -1.0}, r"meta\.pool_margin"),
        ({"hidden": [4, 4]}, r"policy/.*: is missing from the checkpoint"),
        ({"steps": None}, r"meta\.steps"),
    ],
)
def test_wrong_content(file: Path, change: dict[str, object], message: str) -> None:
    write_checkpoint(file, {**META, **change}, arrays())
    with pytest.raises(InputError, match=message):
        PPOPolicy.load(file)


def test_parameters_must_be_finite(file: Path) -> None:
    broken = arrays()
    broken["policy/value_net.bias"][:] = np.nan
    write_checkpoint(file, META, broken)
    with pytest.raises(InputError, match=r"policy/value_net\.bias: must be finite"):
        PPOPolicy.load(file)


def test_failed_write_keeps_the_old_file(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = file.read_bytes()

    def full(_: int) -> None:
        raise OSError("no space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="no space"):
        write_checkpoint(file, META, {})
    assert file.read_bytes() == before
    assert [p.name for p in file.parent.iterdir()] == ["best.npz"]


def test_paths(file: Path) -> None:
    assert checkpoint_path(file.parent) == file
    assert checkpoint_path(file) == file
    assert is_trained(file)
    assert is_trained(file.parent)
    assert not is_trained(file.parent / "dp")
    with pytest.raises(InputError, match=r"last\.npz' does not exist"):
        checkpoint_path(file.parent, "last")
