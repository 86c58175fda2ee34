import numpy as np
import onnx
import pytest
import torch
from onnx import TensorProto, numpy_helper

from microdose.base import LoadedBase
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.codec.offsets import constant_offsets
from tests.students import fresh


def constants(graph: bytes) -> dict[str, TensorProto]:
    return {tensor.name: tensor for tensor in onnx.load_from_string(graph).graph.initializer}


@pytest.fixture(scope="module")
def zeros() -> bytes:
    """A student whose constants are all the same bytes."""
    student = fresh()
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.zero_()
    return student_to_onnx(student)


def test_finds_every_constant_of_a_real_student(tiny_teacher_base: LoadedBase) -> None:
    graph = tiny_teacher_base.student
    offsets, expected = constant_offsets(graph), constants(graph)
    assert set(offsets) == set(expected)
    for name, tensor in expected.items():
        assert tensor.data_type == TensorProto.FLOAT
        assert graph[offsets[name] : offsets[name] + len(tensor.raw_data)] == tensor.raw_data


def test_finds_every_constant_where_all_are_zero(zeros: bytes) -> None:
    offsets, marked = constant_offsets(zeros), bytearray(zeros)
    assert set(offsets) == set(constants(zeros))
    sizes = {name: len(tensor.raw_data) for name, tensor in constants(zeros).items()}
    for mark, name in enumerate(sizes, start=1):
        for at in (offsets[name], offsets[name] + sizes[name] - 4):
            marked[at : at + 4] = np.float32(mark).tobytes()
    for mark, (name, tensor) in enumerate(constants(bytes(marked)).items(), start=1):
        values = numpy_helper.to_array(tensor).ravel()
        assert values[0] == values[-1] == mark, name
        assert not values[1:-1].any(), name


def test_finds_constants_of_other_types_as_well(tiny_teacher_base: LoadedBase) -> None:
    graph = tiny_teacher_base.hyper
    for name, tensor in constants(graph).items():
        start = constant_offsets(graph)[name]
        assert graph[start : start + len(tensor.raw_data)] == tensor.raw_data
