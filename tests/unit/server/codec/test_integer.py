"""The integer hyper-synthesis must give the same numbers in every engine, dtype and thread count."""

from dataclasses import replace

import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from onnx import TensorProto
from torch import Tensor

from microdose.engine import Graph
from microdose_server.codec.encode import Encoder
from microdose_server.codec.export import HYPER_CLAMP
from microdose_server.codec.hyperprior import SCALE_LEAST, Hyperprior, pad_latents, scale_table
from microdose_server.codec.integer import (
    ACTIVATION_MOST,
    EXACT,
    MEAN_BITS,
    SCALE_BITS,
    WEIGHT_MOST,
    IntegerHyper,
    IntegerSynthesis,
    assert_exact,
    quantise_hyperprior,
    scale_thresholds,
)
from microdose_server.codec.presets import PRESETS


@pytest.fixture(scope="module")
def z_hat(shipped_encoder: Encoder, shipped_latents: list[Tensor]) -> list[Tensor]:
    """Integer hyper-latents [1, Cz, 7, 10] of two photographs."""
    h_a = shipped_encoder.teacher.hyperprior.h_a
    with torch.inference_mode():
        return [torch.round(h_a(pad_latents(y))).clamp(-HYPER_CLAMP, HYPER_CLAMP) for y in shipped_latents]


@pytest.fixture(scope="module")
def hyper(shipped_encoder: Encoder, z_hat: list[Tensor]) -> IntegerHyper:
    return quantise_hyperprior(shipped_encoder.teacher.hyperprior, z_hat, HYPER_CLAMP)


@pytest.fixture(scope="module")
def graphs(hyper: IntegerHyper) -> list[Graph]:
    model = hyper.to_onnx()
    return [Graph(model, threads) for threads in (1, 2)]


def inputs(hyper: IntegerHyper, pictures: list[Tensor]) -> dict[str, Tensor]:
    """Real hyper-latents and the worst there can be."""
    shape = pictures[0].shape
    signs = torch.from_numpy(np.random.default_rng(0).choice([-1.0, 1.0], shape)).float()
    first = hyper.scale.layers[0].weight  # [in, out, k, k]
    aligned = torch.from_numpy(np.where(first[:, 0, 2, 2] < 0, -1.0, 1.0)).float()
    return {
        "picture": pictures[0],
        "most": torch.full(shape, float(HYPER_CLAMP)),
        "least": torch.full(shape, -float(HYPER_CLAMP)),
        "noise": signs * HYPER_CLAMP,
        "aligned": (aligned[None, :, None, None] * HYPER_CLAMP).expand(shape).contiguous(),
        "zero": torch.zeros(shape),
        "one": torch.ones(1, shape[1], 1, 1),
    }


def test_every_engine_dtype_and_thread_count_gives_the_same_bits(
    hyper: IntegerHyper, graphs: list[Graph], z_hat: list[Tensor]
) -> None:
    for name, z in inputs(hyper, z_hat).items():
        expected = {"scale": hyper.scale(z.double()).numpy(), "mean": hyper.mean(z.double()).numpy()}
        single = {"scale": hyper.scale(z).numpy(), "mean": hyper.mean(z).numpy()}
        for outputs in (single, *(graph.run(z_hat=z.numpy()) for graph in graphs)):
            for part, values in expected.items():
                assert np.array_equal(outputs[part], values), (name, part)
                assert np.array_equal(values, np.rint(values)), (name, part)


def test_partial_sums_stay_exact_in_a_shuffled_order(hyper: IntegerHyper, z_hat: list[Tensor]) -> None:
    """Reordering the input channels of the last layer reorders the sums, and must change nothing."""
    last = hyper.mean.layers[-1]
    order = np.random.default_rng(1).permutation(last.weight.shape[1])
    before = IntegerSynthesis(hyper.mean.layers[:-1])
    shuffled = IntegerSynthesis((replace(last, weight=np.ascontiguousarray(last.weight[:, order])),))
    straight = IntegerSynthesis((last,))
    activations = before(z_hat[0]).clamp(0, ACTIVATION_MOST)
    assert torch.equal(shuffled(activations[:, order]), straight(activations))


def test_weights_and_biases_are_integers_in_their_ranges(hyper: IntegerHyper) -> None:
    for synthesis in (hyper.scale, hyper.mean):
        assert [layer.transposed for layer in synthesis.layers] == [True, True, False]
        for layer in synthesis.layers:
            assert np.array_equal(layer.weight, np.rint(layer.weight))
            assert np.array_equal(layer.bias, np.rint(layer.bias))
            assert np.abs(layer.weight).max() <= WEIGHT_MOST
            assert np.abs(layer.bias).max() < EXACT


def test_no_accumulator_can_leave_the_exact_integers(hyper: IntegerHyper) -> None:
    """The bound again, by running |weights| on the largest inputs in float64."""
    for synthesis in (hyper.scale, hyper.mean):
        most = HYPER_CLAMP
        for layer in synthesis.layers:
            weight = torch.from_numpy(np.abs(layer.weight)).double()
            bias = torch.from_numpy(np.abs(layer.bias)).double()
            x = torch.full((1, weight.shape[0 if layer.transposed else 1], 6, 6), float(most)).double()
            if layer.transposed:
                sums = torch.conv_transpose2d(x, weight, bias, stride=2, padding=2, output_padding=1)
            else:
                sums = torch.conv2d(x, weight, bias, padding=1)
            assert float(sums.max()) < EXACT
            most = ACTIVATION_MOST


@pytest.mark.parametrize("half", ["scale", "mean"])
def test_a_planted_violation_is_caught(hyper: IntegerHyper, half: str) -> None:
    synthesis: IntegerSynthesis = getattr(hyper, half)
    assert_exact(synthesis, HYPER_CLAMP)
    for number, layer in enumerate(synthesis.layers):
        large, broken, offset = layer.weight.copy(), layer.weight.copy(), layer.bias.copy()
        large[(slice(None), 3) if layer.transposed else (3, slice(None))] = EXACT / 1000
        broken.flat[7] += 0.5
        offset[3] = EXACT
        for planted in (
            replace(layer, weight=large),
            replace(layer, weight=broken),
            replace(layer, bias=offset),
            replace(layer, bias=layer.bias + 0.25),
        ):
            layers = (*synthesis.layers[:number], planted, *synthesis.layers[number + 1 :])
            with pytest.raises(AssertionError, match=rf"layer {number} channel \d+"):
                assert_exact(IntegerSynthesis(layers), HYPER_CLAMP)


def test_close_to_the_float_network(
    shipped_encoder: Encoder, hyper: IntegerHyper, z_hat: list[Tensor]
) -> None:
    hyperprior = shipped_encoder.teacher.hyperprior
    for z in z_hat:
        with torch.inference_mode():
            octaves = hyperprior.h_s_scale(z).double() - np.log2(SCALE_LEAST)
            mean = hyperprior.h_s_mean(z).double()
        scale_error = hyper.scale(z) / 2.0**SCALE_BITS - octaves
        mean_error = hyper.mean(z) / 2.0**MEAN_BITS - mean
        assert rms(scale_error) < 0.05
        assert rms(mean_error) < 0.02
        # What an error costs goes with its share of sigma; means themselves are as large as a teacher likes.
        sigma = SCALE_LEAST * torch.exp2(octaves.clamp_min(0.0))
        assert float((mean_error / sigma).abs().quantile(0.999)) < 0.3


def rms(x: Tensor) -> float:
    return float(x.square().mean().sqrt())


def test_the_graph_stores_one_byte_per_weight(hyper: IntegerHyper) -> None:
    model = onnx.load_from_string(hyper.to_onnx())
    weights = {each.name: each for each in model.graph.initializer if each.name.endswith(".weight")}
    assert set(weights) == {f"{half}.{layer}.weight" for half in ("scale", "mean") for layer in range(3)}
    assert {each.data_type for each in weights.values()} == {TensorProto.INT8}
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Cast", "Conv", "ConvTranspose", "Mul", "Floor", "Clip", "Identity"}


@pytest.mark.parametrize("gain", [1e-6, 1.0, 1e4])
def test_networks_of_any_size_are_made_exact(gain: float) -> None:
    """Dead and exploding networks lose precision, never exactness."""
    torch.manual_seed(0)
    hyperprior = Hyperprior(PRESETS["tiny"])
    with torch.no_grad():
        for layer in (hyperprior.h_s_mean[0], hyperprior.h_s_scale[4]):
            for parameter in layer.parameters():
                parameter.mul_(gain)
    z = torch.randint(-HYPER_CLAMP, HYPER_CLAMP + 1, (1, 16, 3, 3)).float()
    hyper = quantise_hyperprior(hyperprior, [z], HYPER_CLAMP)
    graph = Graph(hyper.to_onnx(), 1)
    outputs: dict[str, NDArray[np.float32]] = graph.run(z_hat=z.numpy())
    assert np.array_equal(outputs["scale"], hyper.scale(z.double()).numpy())
    assert np.array_equal(outputs["mean"], hyper.mean(z.double()).numpy())


def test_thresholds_lie_half_way_between_scales() -> None:
    thresholds, scales = scale_thresholds(), np.array(scale_table())
    octaves = np.log2(scales / SCALE_LEAST)
    np.testing.assert_allclose(
        np.array(thresholds) / 2.0**SCALE_BITS, (octaves[:-1] + octaves[1:]) / 2, atol=0.004
    )
    nearest = np.searchsorted(thresholds, np.rint(octaves * 2**SCALE_BITS), side="right")
    assert nearest.tolist() == list(range(64))
