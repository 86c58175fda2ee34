"""The student and the teacher's generator as ONNX graphs: input y_hat, output x_hat."""

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from microdose_server.codec.layers import ChannelNorm, ResidualBlock
from microdose_server.codec.micro import SLOPE, MicroBlock
from microdose_server.codec.onnx_graph import GraphWriter
from microdose_server.codec.student import LightStudent, PaperStudent, PlainBlock, Student
from microdose_server.codec.teacher import Generator


def student_to_onnx(student: Student) -> bytes:
    """The student's graph: input y_hat, output x_hat, constants named as the student's parameters."""
    writer = GraphWriter("student")
    x = after_head = _layer(writer, "y_hat", "head", student.head)
    for number, layer in student.micro.named_children():
        x = _layer(writer, x, f"micro.{number}", layer)
    x = writer.op("Add", x, after_head)
    if isinstance(student, PaperStudent):
        x = _sequence(writer, x, "tail", student.tail)
    elif isinstance(student, LightStudent):
        x = _light_tail(writer, x, student)
    else:
        raise TypeError(f"a {type(student).__name__} has no graph form")
    return writer.finish([("y_hat", student.latent_channels)], [("x_hat", x, 3)])


def _light_tail(writer: GraphWriter, x: str, student: LightStudent) -> str:
    x = writer.leaky_relu(writer.depth_to_space(_conv(writer, x, "up_eighth", student.up_eighth), 2), SLOPE)
    x = _plain_block(writer, x, "eighth", student.eighth)
    x = writer.leaky_relu(writer.depth_to_space(_conv(writer, x, "up_quarter", student.up_quarter), 2), SLOPE)
    x = _plain_block(writer, x, "quarter", student.quarter)
    return writer.depth_to_space(_conv(writer, x, "out", student.out), 4)


def _micro_block(writer: GraphWriter, x: str, name: str, block: MicroBlock) -> str:
    out = x
    for part, convolution, after in (
        ("first", block.first, ("between", block.between)),
        ("second", block.second, ("last", block.last)),
    ):
        deep = writer.leaky_relu(_conv(writer, out, f"{name}.{part}.depthwise", convolution.depthwise), SLOPE)
        deep = _conv(writer, deep, f"{name}.{part}.pointwise", convolution.pointwise)
        gain = writer.constant(f"{name}.{part}.skip.gain", _array(convolution.skip.gain))
        out = writer.leaky_relu(writer.op("Add", deep, writer.op("Mul", out, gain)), SLOPE)
        out = _conv(writer, out, f"{name}.{after[0]}", after[1])
        if part == "first":
            out = writer.leaky_relu(out, SLOPE)
    return writer.op("Add", out, x)


def _plain_block(writer: GraphWriter, x: str, name: str, block: PlainBlock) -> str:
    out = writer.leaky_relu(_conv(writer, x, f"{name}.first", block.first), SLOPE)
    return writer.op("Add", _conv(writer, out, f"{name}.second", block.second), x)


def generator_to_onnx(generator: Generator) -> bytes:
    """The teacher's generator as a graph like the student's, so that both can be timed on the same engine."""
    writer = GraphWriter("teacher")
    channels = next(layer for layer in generator.head if isinstance(layer, nn.Conv2d)).in_channels
    after_head = _sequence(writer, "y_hat", "head", generator.head)
    x = writer.op("Add", _sequence(writer, after_head, "tower", generator.tower), after_head)
    x = _sequence(writer, x, "tail", generator.tail)
    return writer.finish([("y_hat", channels)], [("x_hat", x, 3)])


def _sequence(writer: GraphWriter, x: str, name: str, layers: nn.Sequential) -> str:
    for number, layer in layers.named_children():
        x = _layer(writer, x, f"{name}.{number}", layer)
    return x


def _layer(writer: GraphWriter, x: str, name: str, layer: nn.Module) -> str:
    if isinstance(layer, nn.Sequential):
        return _sequence(writer, x, name, layer)
    if isinstance(layer, nn.Conv2d):
        return _conv(writer, x, name, layer)
    if isinstance(layer, nn.ConvTranspose2d):
        return _conv_transpose(writer, x, name, layer)
    if isinstance(layer, nn.ReLU):
        return writer.op("Relu", x)
    if isinstance(layer, ChannelNorm):
        return _channel_norm(writer, x, name, layer)
    if isinstance(layer, MicroBlock):
        return _micro_block(writer, x, name, layer)
    if isinstance(layer, ResidualBlock):
        return _residual_block(writer, x, name, layer)
    raise TypeError(f"{name} is a {type(layer).__name__}, which has no graph form")


def _residual_block(writer: GraphWriter, x: str, name: str, block: ResidualBlock) -> str:
    deep = _conv(writer, x, f"{name}.first", block.first)
    deep = _sequence(writer, deep, f"{name}.between", block.between)
    deep = _conv(writer, deep, f"{name}.second", block.second)
    if isinstance(block.norm, ChannelNorm):
        deep = _channel_norm(writer, deep, f"{name}.norm", block.norm)
    return writer.op("Add", x, deep)


def _channel_norm(writer: GraphWriter, x: str, name: str, layer: ChannelNorm) -> str:
    channels = layer.gamma.shape[1]
    centred = writer.op("Sub", x, writer.mean_over_channels(x))
    variance = writer.mean_over_channels(writer.op("Mul", centred, centred))
    unbiased = writer.constant(f"{name}.unbiased", np.array(channels / (channels - 1), np.float32))
    epsilon = writer.constant(f"{name}.epsilon", np.array(layer.eps, np.float32))
    deviation = writer.op("Sqrt", writer.op("Add", writer.op("Mul", variance, unbiased), epsilon))
    scaled = writer.op(
        "Mul", writer.op("Div", centred, deviation), writer.constant(f"{name}.gamma", _array(layer.gamma))
    )
    return writer.op("Add", scaled, writer.constant(f"{name}.beta", _array(layer.beta)))


def _conv(writer: GraphWriter, x: str, name: str, layer: nn.Conv2d) -> str:
    weight = writer.constant(f"{name}.weight", _array(layer.weight))
    bias = None if layer.bias is None else writer.constant(f"{name}.bias", _array(layer.bias))
    return writer.conv(x, weight, bias, layer.kernel_size[0], groups=layer.groups)


def _conv_transpose(writer: GraphWriter, x: str, name: str, layer: nn.ConvTranspose2d) -> str:
    weight = writer.constant(f"{name}.weight", _array(layer.weight))
    bias = writer.constant(f"{name}.bias", _array(layer.bias))
    return writer.conv_transpose(x, weight, bias, layer.kernel_size[0])


def _array(tensor: Tensor | None) -> NDArray[np.float32]:
    assert tensor is not None
    values: NDArray[np.float32] = tensor.detach().cpu().float().numpy()
    return values
