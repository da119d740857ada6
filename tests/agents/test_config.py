"""Settings: help for every field, TOML there and back, and errors that name the key."""

from pathlib import Path

import pytest

from edgecloud import InputError
from edgecloud.agents import PRESETS, TrainConfig, config_with, load_config, preset


def test_every_setting_has_help() -> None:
    assert all(len(text) > 10 for _, _, text in TrainConfig.help())


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_a_file(name: str, tmp_path: Path) -> None:
    path = tmp_path / "config.toml"
    path.write_text(preset(name).to_toml(), encoding="utf-8")
    assert load_config(path) == preset(name)


def test_unknown_key_in_a_file(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_text("learning_rat = 1e-3\n", encoding="utf-8")
    with pytest.raises(InputError, match=r"mine\.toml: learning_rat: is an unknown key.*did you mean 'learning_rate'"):
        load_config(path)


def test_changes_from_the_command_line() -> None:
    changed = config_with(
        preset("default"), ["gamma=0.9", "hidden=[32, 16]", "activation=relu", "stagger=false"], seed=4
    )
    assert (changed.gamma, changed.hidden, changed.activation, changed.stagger) == (0.9, (32, 16), "relu", False)
    assert changed.seed == 4
    assert config_with(changed, [], seed=None) == changed


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ("gama=0.9", "setting: gama: is an unknown key.*'gamma'"),
        ("gamma=1.5", "setting: gamma: input should be less than 1. Got 1.5"),
        ("gamma", "must read name=value"),
        ("minibatch=100000", "minibatch must be at most num_envs"),
        ("activation=gelu", "setting: activation"),
        ("total_steps=many", "setting: total_steps"),
        ("learning_rate=inf", "setting: learning_rate"),
    ],
)
def test_bad_changes(change: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        config_with(preset("default"), [change])


def test_unknown_preset() -> None:
    with pytest.raises(InputError, match="did you mean 'quick'"):
        preset("quik")
