import pytest
import torch

from microdose.errors import UnsupportedVersion
from microdose_server.codec.fill import fill


def test_a_network_gets_its_weights() -> None:
    weights = {"weight": torch.ones(2, 3), "bias": torch.ones(2)}
    network = torch.nn.Linear(3, 2)
    fill(network, weights, "here")
    assert torch.equal(network.bias, weights["bias"])


@pytest.mark.parametrize("other", [{"weight": torch.ones(3, 3)}, {"gain": torch.ones(2)}])
def test_those_of_another_version_are_refused(other: dict[str, torch.Tensor]) -> None:
    weights = {"weight": torch.ones(2, 3), "bias": torch.ones(2), **other}
    with pytest.raises(UnsupportedVersion, match=rf"here has another shape .*{next(iter(other))}"):
        fill(torch.nn.Linear(3, 2), weights, "here")
