"""What cannot be cut is refused with the node and a way out; what looks hard but can be is handled."""

import re

import pytest
import torch
from torch import nn

from edgecloud.errors import InputError
from edgecloud.profiles.profiler.capture import capture
from edgecloud.profiles.profiler.graph import LayerGraph
from edgecloud.profiles.profiler.parts import run_parts, split


class Base(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.linear = nn.Linear(4, 4)
        self.register_buffer("count", torch.zeros(1))


class Branching(Base):
    def forward(self, x):
        if x.sum() > 0:
            return self.linear(x)
        return x


class Looping(Base):
    def forward(self, x):
        for _ in range(int(x[0, 0])):
            x = x + 1
        return x


class Selecting(Base):
    def forward(self, x):
        return self.linear(x)[x > 0] * 2


class Counting(Base):
    def forward(self, x):
        self.count.add_(1)
        return self.linear(x) * self.count


class WritingItsInput(Base):
    def forward(self, x):
        return self.linear(x.mul_(2))


class Noisy(Base):
    def forward(self, x):
        return self.linear(x) + torch.rand_like(x)


class Converting(Base):
    def forward(self, x):
        return torch.from_numpy(x.numpy() * 2)


class Conditional(Base):
    """The way out that the error names."""

    def forward(self, x):
        return torch.cond(x.sum() > 0, lambda y: self.linear(y), lambda y: y * 2, (x,))


class InPlaceAcrossCuts(Base):
    def forward(self, x):
        y = self.linear(x)
        z = y + 1
        y.relu_()
        y[:, 0] = 3
        return self.linear(y) + z + y


class CalledTwice(Base):
    def forward(self, x):
        return self.linear(torch.relu(self.linear(x)))


class DropoutInEvaluation(Base):
    def __init__(self) -> None:
        super().__init__()
        self.dropout = nn.Dropout(0.5)

    def forward(self, x):
        return self.linear(self.dropout(self.linear(x)))


class NestedResults(Base):
    def forward(self, pair):
        first = self.linear(pair["a"])
        return {"sum": first + pair["b"], "parts": [first, (pair["b"],)]}


X = torch.tensor([[1.0, -2.0, 0.5, 3.0]])


@pytest.mark.parametrize(
    ("model", "field", "rule", "remedy"),
    [
        (Branching, r"test_capture.py:\d+ in forward \(if x.sum\(\) > 0:\)", "values of a tensor", "torch.cond"),
        (Looping, r"test_capture.py:\d+ in forward \(for _ in range", "values of a tensor", "torch.cond"),
        (Selecting, r"node index \(aten.index.Tensor\)", "shape that does not depend on data", "mask"),
        (Counting, r"node \w+", "write to the buffer 'count'", "input and an output"),
        (WritingItsInput, r"node \w+", "write to the input 'x'", "clone"),
        (Noisy, r"node rand_like \(aten.rand_like", "random numbers", "pass the noise as an input"),
        (Converting, r"test_capture.py:\d+ in forward", "cannot be exported by torch: .numpy", "torch operators"),
    ],
)
def test_refused(model, field, rule, remedy, capfd):
    with pytest.raises(InputError) as caught:
        capture(model(), (X.clone(),), "net")
    error = caught.value
    assert re.search(field, error.field), error.field
    assert rule in error.rule
    assert remedy in error.remedy
    assert "\n" not in str(error)
    assert capfd.readouterr().err == ""


def test_an_operator_that_torch_cannot_trace():
    @torch.library.custom_op("edgecloud_test::twice", mutates_args=())
    def twice(x: torch.Tensor) -> torch.Tensor:
        return x * 2

    class Custom(Base):
        def forward(self, x):
            return self.linear(twice(self.linear(x)))

    with pytest.raises(InputError, match=r"edgecloud_test::twice.*register_fake") as caught:
        capture(Custom(), (X,), "net")
    assert "test_capture.py" in caught.value.field
    twice.register_fake(lambda x: torch.empty_like(x))
    check_every_cut(Custom(), X)


@torch.inference_mode()
def check_every_cut(model: nn.Module, *inputs) -> LayerGraph:
    graph = LayerGraph(capture(model, inputs, "net"))
    expected = list(torch.utils._pytree.tree_leaves(model(*inputs)))
    for cut in graph.cuts:
        results = run_parts(split(graph, [cut.position]), graph, graph.captured.inputs)
        assert all(map(torch.equal, results, expected)), cut.position
        assert len(results) == len(expected)
    return graph


@pytest.mark.parametrize("model", [InPlaceAcrossCuts, CalledTwice, DropoutInEvaluation, Conditional])
def test_handled(model):
    graph = check_every_cut(model(), X)
    assert len(graph.cuts) >= 2


def test_the_receiver_keeps_its_own_copy():
    """An in-place operator after the cut does not write into what was received."""
    graph = LayerGraph(capture(InPlaceAcrossCuts(), (X,)))
    for cut in graph.cuts:
        first, second = split(graph, [cut.position])
        sent = first(X)
        copies = [tensor.clone() for tensor in sent]
        second(*sent)
        assert all(map(torch.equal, sent, copies))


def test_a_shared_module_is_in_both_halves():
    graph = LayerGraph(capture(CalledTwice(), (X,)))
    halves = split(graph, [1])
    assert [sum(p.numel() for p in part.module.parameters()) for part in halves] == [20, 20]


def test_nested_arguments_and_results():
    check_every_cut(NestedResults(), {"a": X, "b": X + 1})


def test_arguments_that_are_no_tensors():
    class Scaled(Base):
        def forward(self, x, factor):
            return self.linear(x) * factor

    with pytest.raises(InputError, match="tensors only"):
        capture(Scaled(), (X, 3), "net")
