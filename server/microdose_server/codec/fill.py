"""Weights into a network of this version; those of another are refused."""

from collections.abc import Mapping

from torch import Tensor, nn

from microdose.errors import UnsupportedVersion


def fill(network: nn.Module, weights: Mapping[str, Tensor], source: object) -> None:
    """Give a network all its weights. Raises UnsupportedVersion, which names their `source`, where names or
    shapes are others.
    """
    try:
        network.load_state_dict(weights)
    except RuntimeError as error:  # torch's lines on what is missing, unknown or of another shape
        found = " ".join(str(error).split())
        raise UnsupportedVersion(
            f"{source} has another shape than is known here: train it anew; {found}"
        ) from None
