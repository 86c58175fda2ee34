"""What a student is trained to do on one piece of a sequence, all in the unit of the distortion.

    distortion     k_M * MSE + k_P * LPIPS to the target: the original, or the teacher's picture
    + features     weight * distortion at the start * (error of the tower's features / error at the start)
    + adversarial  beta * -log D(x_hat | y_hat), if there is a discriminator

The student's trunk has other channels than the teacher's tower; a linear map, fitted once to the generic
student by least squares, stands between them.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.student import Student
from microdose_server.distil.distance import DISTANCE, Reference, distortion, reference_of
from microdose_server.distil.tiles import Piece, Target, Tile, cut
from microdose_server.training.lpips import LPIPS, PHASES, Phase
from microdose_server.training.precision import placed

KEPT_REFERENCES = 32
"""Judged tiles whose LPIPS features stay in memory: by their shapes, 2.6 MB for one of 256 x 256 pixels."""
RIDGE = 1e-3


class Objective:
    """The loss of changed weights of the generic `student` on tiles of a sequence."""

    def __init__(
        self,
        student: Student,
        targets: Sequence[Target],
        lpips: LPIPS,
        device: str,
        *,
        features: float = 0.0,
        beta: float = 0.0,
        discriminator: Discriminator | None = None,
    ) -> None:
        """Weights as above. Raises ValueError for a `beta` without discriminator."""
        if beta > 0.0 and discriminator is None:
            raise ValueError("an adversarial term needs the teacher's discriminator")
        self.both = placed(_TrunkAndPicture(student.requires_grad_(False)), device)
        self.targets, self.lpips, self.device = targets, placed(lpips, device), device
        self.distance, self.features, self.beta = DISTANCE, features, beta
        self.discriminator = None
        if discriminator is not None:
            self.discriminator = discriminator.requires_grad_(False).to(device).eval()
        self._references: dict[Tile, Reference] = {}
        self._adapter: Tensor | None = None

    @property
    def has_features(self) -> bool:
        """Whether there is a feature term: it is off where any target comes without, as an original does."""
        return self.features > 0.0 and all(target.tower is not None for target in self.targets)

    def fit_features(self, tiles: Sequence[Tile]) -> None:
        """Prepare the feature term on these tiles, if there is one."""
        if not self.has_features:
            return
        pieces = [cut(self.targets[tile.picture], tile) for tile in tiles]
        with torch.no_grad():
            trunks = [self.both(piece.y_hat.to(self.device))[0] for piece in pieces]
            towers = [_tower(piece).to(self.device) for piece in pieces]
            self._adapter = fit_adapter(trunks, towers)
            wrong = sum(float(self._feature_error(*pair)) for pair in zip(trunks, towers, strict=True))
            start = sum(float(self.distortion({}, tile)) for tile in tiles)
        self._feature_weight = self.features * start / max(wrong, 1e-12)

    def loss(self, weights: dict[str, Tensor], tile: Tile, phase: Phase = (0, 0)) -> tuple[Tensor, float]:
        """(what to minimise on a tile that LPIPS sees in this phase, MSE of the picture in 0..1)."""
        piece = cut(self.targets[tile.picture], tile)
        y_hat = piece.y_hat.to(self.device)
        trunk, made = self._run(weights, y_hat)
        x_hat = made[:, :, piece.inside[0], piece.inside[1]]
        reference = reference_of(piece.pixels.to(self.device), self.lpips, phase)
        loss = distortion(x_hat, reference, self.lpips, self.distance)
        if self._adapter is not None:
            loss = loss + self._feature_weight * self._feature_error(trunk, _tower(piece).to(self.device))
        if self.discriminator is not None and self.beta > 0.0:
            loss = loss + self.beta * F.softplus(-self.discriminator(made, y_hat)).mean()
        return loss, torch.mean((x_hat.detach() - reference.pixels) ** 2).item()

    @torch.no_grad()
    def distortion(self, weights: dict[str, Tensor], tile: Tile) -> Tensor:
        """Distortion alone, a scalar: a tile is judged in one phase, the same each time, but tiles differ."""
        piece = cut(self.targets[tile.picture], tile)
        _, made = self._run(weights, piece.y_hat.to(self.device))
        x_hat = made[:, :, piece.inside[0], piece.inside[1]]
        return distortion(x_hat, self._reference(tile, piece.pixels), self.lpips, self.distance)

    def _run(self, weights: dict[str, Tensor], y_hat: Tensor) -> tuple[Tensor, Tensor]:
        named = {f"student.{name}": value for name, value in weights.items()}
        found: tuple[Tensor, Tensor] = functional_call(self.both, named, (y_hat,))
        return found

    def _feature_error(self, trunk: Tensor, tower: Tensor) -> Tensor:
        assert self._adapter is not None
        return torch.mean((_adapted(self._adapter, trunk) - tower) ** 2)

    def _reference(self, tile: Tile, pixels: Tensor) -> Reference:
        if tile not in self._references:
            found = reference_of(pixels.to(self.device), self.lpips, own_phase(tile))
            if len(self._references) >= KEPT_REFERENCES:
                return found
            self._references[tile] = found
        return self._references[tile]


def own_phase(tile: Tile) -> Phase:
    """The phase that a tile is judged in."""
    down, right = np.random.default_rng((tile.picture, tile.top, tile.left)).integers(PHASES, size=2).tolist()
    return down, right


class _TrunkAndPicture(nn.Module):
    """A student that also gives what its tail paints from."""

    def __init__(self, student: Student) -> None:
        super().__init__()
        self.student = student

    def forward(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.student.trunk(y_hat)
        return trunk, self.student.paint(trunk)


def fit_adapter(trunks: Sequence[Tensor], towers: Sequence[Tensor]) -> Tensor:
    """[D, width + 1]: the linear map, and constant, that best predicts towers [1, D, h, w] from trunks."""
    known, wanted = torch.cat([_columns(each) for each in trunks]), torch.cat([_columns(t) for t in towers])
    known = torch.cat([known, torch.ones_like(known[:, :1])], dim=1)
    gram = known.T @ known
    gram += RIDGE * gram.diagonal().mean() * torch.eye(len(gram), dtype=gram.dtype, device=gram.device)
    solution: Tensor = torch.linalg.solve(gram, known.T @ wanted)
    return solution.T.float()


def _columns(features: Tensor) -> Tensor:
    return features.permute(0, 2, 3, 1).reshape(-1, features.shape[1]).double()


def _adapted(adapter: Tensor, trunk: Tensor) -> Tensor:
    return F.conv2d(trunk, adapter[:, :-1, None, None], adapter[:, -1])


def _tower(piece: Piece) -> Tensor:
    assert piece.tower is not None
    return piece.tower
