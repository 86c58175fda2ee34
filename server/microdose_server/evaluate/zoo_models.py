"""The one door to the models of CompressAI's zoo; `codec/entropy_models.py` says why it needs one.

`compressai.registry` imports torchvision and torch_geometric for datasets, `compressai.models` those of point
clouds; the files of the models themselves need neither.
"""

import sys
from typing import Any

from microdose_server.codec.entropy_models import enter_without_init

for _package in ("compressai.registry", "compressai.models", "compressai.zoo"):
    enter_without_init(_package)

from compressai.registry.torch import register_model, register_module  # noqa: E402

# The models ask the package itself for these.
_decorators = {"register_model": register_model, "register_module": register_module}
vars(sys.modules["compressai.registry"]).update(_decorators)

from compressai.models.google import (  # noqa: E402
    FactorizedPrior,
    JointAutoregressiveHierarchicalPriors,
    MeanScaleHyperprior,
    ScaleHyperprior,
)
from compressai.models.waseda import Cheng2020Anchor, Cheng2020Attention  # noqa: E402
from compressai.ops import compute_padding  # noqa: E402
from compressai.zoo.pretrained import load_pretrained  # noqa: E402

ARCHITECTURES: dict[str, Any] = {
    "bmshj2018-factorized": FactorizedPrior,
    "bmshj2018-hyperprior": ScaleHyperprior,
    "mbt2018-mean": MeanScaleHyperprior,
    "mbt2018": JointAutoregressiveHierarchicalPriors,
    "cheng2020-anchor": Cheng2020Anchor,
    "cheng2020-attn": Cheng2020Attention,
}
"""The classes of the trained models, by the names that CompressAI has for them."""

__all__ = ["ARCHITECTURES", "compute_padding", "load_pretrained"]
