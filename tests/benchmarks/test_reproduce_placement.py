"""Hidden sizes against the shapes of configuration D; depth against what is revealed."""

from __future__ import annotations

import itertools

import reproduce_placement_survey as script

from edgecloud.profiles.profiler.architectures import VGG16_WIDTHS


def test_hidden_sizes_follow_from_the_configuration():
    side, channels, expected = 32, 3, []
    for width in VGG16_WIDTHS:
        side, channels = (side, width) if width else (side // 2, channels)
        expected.append(4 * 16 * channels * side * side)
    expected += [4 * 16 * size for size in (4096, 4096, 10)]
    assert [hidden.bytes for hidden in script.hidden_sizes(16)] == expected


def test_sizes_are_proportional_to_the_batch():
    one, sixteen = script.hidden_sizes(1), script.hidden_sizes(16)
    assert [16 * hidden.bytes for hidden in one] == [hidden.bytes for hidden in sixteen]


def test_deeper_cuts_reveal_less_and_work_more():
    found = script.depths()
    for shallow, deep in itertools.pairwise(found):
        assert deep.leakage <= shallow.leakage
        assert deep.mse >= shallow.mse
        assert deep.ssim <= shallow.ssim
        assert deep.device_flops_share > shallow.device_flops_share


def test_the_command_prints_theirs_and_ours(capsys):
    script.main(["--quick"])
    text = capsys.readouterr().out
    assert "pool 5" in text
    assert "ours / theirs" in text
