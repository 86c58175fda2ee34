import pickle
from typing import Any

import numpy as np

from microdose_server.training.lpips_weights import convert


def flax_tree() -> dict[str, Any]:
    tree: dict[str, Any] = {"AlexNet_0": {}}
    for k in range(5):
        kernel = np.arange(3 * 3 * 2 * (k + 1), dtype=np.float32).reshape(3, 3, 2, k + 1)
        tree["AlexNet_0"][f"Conv_{k}"] = {"kernel": kernel, "bias": np.zeros(k + 1, np.float32)}
        tree[f"NetLinLayer_{k}"] = {"Conv_0": {"kernel": np.ones((1, 1, k + 1, 1), np.float32)}}
    return tree


def test_kernels_become_torchvisions() -> None:
    tree = flax_tree()
    # The archive was pickled by a numpy whose reconstructor still lived in numpy.core.
    tensors = convert(
        pickle.dumps(tree, protocol=3).replace(b"numpy._core.multiarray", b"numpy.core.multiarray")
    )
    assert len(tensors) == 15
    weight = tensors["features.10.weight"]
    assert weight.shape == (5, 2, 3, 3)
    assert weight[4, 1, 2, 0] == tree["AlexNet_0"]["Conv_4"]["kernel"][2, 0, 1, 4]
    assert tensors["lin2.weight"].shape == (1, 3, 1, 1)
