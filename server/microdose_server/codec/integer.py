"""The integer twin of the hyper-synthesis: the same numbers on every machine.

One wrong entropy table destroys the rest of a stream, and float networks disagree between processors. Here
every weight and activation is an integer held in float32, and each output channel's weights are scaled so
that no partial sum, in whatever order, can leave the 2^24 integers that float32 holds exactly:

    z_hat in +-clamp --deconv--> acc --floor(acc / 2^e)--> clip 0..255 --deconv--> ... --conv--> floor
                         |acc| < 2^24 by construction          scale in 1/128 octaves above 0.11,
                                                               mean in 2^-mean_bits

Scaling to the activations' range is folded into the weights before they are rounded (Balle et al., ICLR 2019,
"Integer networks for data compression with latent-variable models").
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from microdose_server.codec.hyperprior import (
    SCALE_LEAST,
    SCALE_LEVELS,
    Hyperprior,
    HyperSynthesis,
    scale_table,
)
from microdose_server.codec.onnx_graph import GraphWriter

ACTIVATION_MOST = 255
WEIGHT_MOST = 127
EXACT = 2**24
SCALE_BITS = 7
MEAN_BITS = 6

Array = NDArray[np.float32]


@dataclass(frozen=True)
class IntegerLayer:
    """One convolution: integer weights in torch's layout, integer bias [out], and the exponent e of each
    output channel, which divides the accumulator by 2^e.
    """

    weight: Array
    bias: Array
    exponent: NDArray[np.int64]
    transposed: bool


@dataclass(frozen=True)
class IntegerSynthesis:
    """The layers of one h_s, rectified and clipped to 0..255 between them."""

    layers: tuple[IntegerLayer, ...]

    @torch.no_grad()
    def __call__(self, z_hat: Tensor) -> Tensor:
        """Integer-valued [N, Cz, h, w] -> integer-valued [N, C, 4h, 4w], in the dtype of `z_hat`."""
        x = z_hat
        for number, layer in enumerate(self.layers):
            weight, bias = (
                torch.from_numpy(layer.weight).to(x.dtype),
                torch.from_numpy(layer.bias).to(x.dtype),
            )
            if layer.transposed:
                accumulator = F.conv_transpose2d(x, weight, bias, stride=2, padding=2, output_padding=1)
            else:
                accumulator = F.conv2d(x, weight, bias, padding=1)
            divisor = torch.from_numpy(np.exp2(-layer.exponent.astype(np.float64))).to(x.dtype)
            x = torch.floor(accumulator * divisor[None, :, None, None])
            if number < len(self.layers) - 1:
                x = x.clamp(0, ACTIVATION_MOST)
        return x


def quantise_synthesis(
    network: HyperSynthesis, pictures: Sequence[Tensor], clamp: int, gain: float, shift: float
) -> IntegerSynthesis:
    """The integer twin of `gain * (network(z_hat) + shift)`.

    `pictures` are the integer hyper-latents [1, Cz, h, w] of real pictures: they show how far activations
    reach.
    """
    convolutions = [layer for layer in network if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)]
    reaches = _activation_reach(network, pictures)
    layers, scale_in, most_in = [], 1.0, clamp
    for convolution, reach in zip(convolutions, [*reaches, None], strict=True):
        last = reach is None
        scale_out = gain if reach is None else ACTIVATION_MOST / reach
        weight = convolution.weight.detach().double().numpy() * (scale_out / scale_in)
        assert convolution.bias is not None
        bias = (convolution.bias.detach().double().numpy() + (shift if last else 0.0)) * scale_out
        layers.append(_quantise_layer(weight, bias, most_in, isinstance(convolution, nn.ConvTranspose2d)))
        scale_in, most_in = scale_out, ACTIVATION_MOST
    return IntegerSynthesis(tuple(layers))


@torch.no_grad()
def _activation_reach(network: HyperSynthesis, pictures: Sequence[Tensor]) -> list[float]:
    """What all but one in 100,000 activations of every picture stay below, after each ReLU."""
    reaches = []
    for z_hat in pictures:
        x, reach = z_hat, []
        for layer in network:
            x = layer(x)
            if isinstance(layer, nn.ReLU):
                reach.append(float(np.quantile(x.numpy(), 1.0 - 1e-5)))
        reaches.append(reach)
    most: list[float] = np.maximum(np.max(reaches, axis=0), 1e-3).tolist()
    return most


def _quantise_layer(
    weight: NDArray[np.float64], bias: NDArray[np.float64], most_in: int, transposed: bool
) -> IntegerLayer:
    outputs_first = weight.swapaxes(0, 1) if transposed else weight
    integers = np.zeros_like(outputs_first)
    biases, exponents = np.zeros(len(bias)), np.zeros(len(bias), np.int64)
    for channel, (taps, offset) in enumerate(zip(outputs_first, bias, strict=True)):
        exponent = math.floor(math.log2(WEIGHT_MOST / max(np.abs(taps).max(), 1e-9)))
        exponent = min(exponent, 20)
        while True:
            rounded = np.rint(taps * 2.0**exponent)
            # Half a unit goes into the bias, so that the floor after the division rounds to nearest.
            whole = np.rint(offset * 2.0**exponent) + (2.0 ** (exponent - 1) if exponent > 0 else 0.0)
            if _most_accumulated(rounded, whole, most_in, transposed) < EXACT:
                break
            exponent -= 1
        integers[channel], biases[channel], exponents[channel] = rounded, whole, exponent
    stored = integers.swapaxes(0, 1) if transposed else integers
    return IntegerLayer(
        np.ascontiguousarray(stored, np.float32), biases.astype(np.float32), exponents, transposed
    )


def _most_accumulated(taps: NDArray[np.float64], bias: float, most_in: int, transposed: bool) -> float:
    """The largest magnitude of any partial sum: taps [in, k, k]. A stride-2 transposed convolution uses, for
    each output, only the taps of one parity.
    """
    magnitude = np.abs(taps)
    if not transposed:
        return float(magnitude.sum() * most_in + abs(bias))
    parities = [magnitude[:, row::2, column::2].sum() for row in (0, 1) for column in (0, 1)]
    return float(max(parities) * most_in + abs(bias))


def assert_exact(synthesis: IntegerSynthesis, clamp: int) -> None:
    """Prove the bound on the finished integers. Raises AssertionError naming the layer and channel."""
    most_in = clamp
    for number, layer in enumerate(synthesis.layers):
        outputs_first = layer.weight.swapaxes(0, 1) if layer.transposed else layer.weight
        for channel, taps in enumerate(outputs_first.astype(np.float64)):
            most = _most_accumulated(taps, float(layer.bias[channel]), most_in, layer.transposed)
            whole = np.array_equal(taps, np.rint(taps)) and float(layer.bias[channel]).is_integer()
            if most >= EXACT or not whole:
                raise AssertionError(
                    f"layer {number} channel {channel} may reach {most:.0f}; float32 is exact to {EXACT}"
                )
        most_in = ACTIVATION_MOST


@dataclass(frozen=True)
class IntegerHyper:
    """Both halves of the hyper-synthesis: z_hat -> table scale, mean."""

    scale: IntegerSynthesis
    mean: IntegerSynthesis

    def to_onnx(self) -> bytes:
        """The graph that encoder and clients run: input z_hat, outputs scale and mean, integers as floats."""
        writer = GraphWriter("hyper")
        scale = _write(writer, "scale", self.scale)
        mean = _write(writer, "mean", self.mean)
        inputs = self.scale.layers[0].weight.shape[0]
        latents = len(self.scale.layers[-1].bias)
        return writer.finish([("z_hat", inputs)], [("scale", scale, latents), ("mean", mean, latents)])


def _write(writer: GraphWriter, name: str, synthesis: IntegerSynthesis) -> str:
    x = "z_hat"
    for number, layer in enumerate(synthesis.layers):
        title = f"{name}.{number}"
        weight = writer.small_integers(f"{title}.weight", layer.weight)
        bias = writer.constant(f"{title}.bias", layer.bias)
        add = writer.conv_transpose if layer.transposed else writer.conv
        x = add(x, weight, bias, layer.weight.shape[-1])
        divisor = np.exp2(-layer.exponent.astype(np.float64)).astype(np.float32)[None, :, None, None]
        x = writer.op("Floor", writer.op("Mul", x, writer.constant(f"{title}.divisor", divisor)))
        if number < len(synthesis.layers) - 1:
            least = writer.constant("least", np.zeros((), np.float32))
            most = writer.constant("most", np.full((), ACTIVATION_MOST, np.float32))
            x = writer.op("Clip", x, least, most)
    return x


def quantise_hyperprior(hyperprior: Hyperprior, z_hat: Sequence[Tensor], clamp: int) -> IntegerHyper:
    """The integer twin of a trained hyperprior, calibrated on integer z [1, Cz, h, w] of real pictures."""
    pictures = [z.clamp(-clamp, clamp) for z in z_hat]
    scale = quantise_synthesis(
        hyperprior.h_s_scale, pictures, clamp, 2.0**SCALE_BITS, -math.log2(SCALE_LEAST)
    )
    mean = quantise_synthesis(hyperprior.h_s_mean, pictures, clamp, 2.0**MEAN_BITS, 0.0)
    for synthesis in (scale, mean):
        assert_exact(synthesis, clamp)
    return IntegerHyper(scale, mean)


def scale_thresholds() -> list[int]:
    """Where one entropy table gives way to the next: half-way, in octaves, between neighbouring scales."""
    octaves = [math.log2(scale / SCALE_LEAST) for scale in scale_table()]
    return [round((octaves[k] + octaves[k + 1]) / 2.0 * 2**SCALE_BITS) for k in range(SCALE_LEVELS - 1)]
