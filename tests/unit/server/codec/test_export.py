from typing import get_args

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from microdose.base import Base, LoadedBase, load_base
from microdose.digest import digest_of
from microdose.document import parse_document
from microdose.tables import TOTAL
from microdose_server.codec.export import HYPER_CLAMP, factorised_tables
from microdose_server.codec.hyperprior import scale_table
from microdose_server.codec.student import student_from_onnx
from microdose_server.codec.teacher import Teacher


def test_a_base_survives_the_way_to_a_client(tiny_teacher_base: LoadedBase) -> None:
    data = tiny_teacher_base.document.to_bytes()
    blobs = {digest_of(each): each for each in (tiny_teacher_base.student, tiny_teacher_base.hyper)}
    assert load_base(data, lambda descriptor: blobs[descriptor.digest]) == tiny_teacher_base
    assert parse_document(Base, data, len(data)) == tiny_teacher_base.document


def test_it_describes_its_teacher_and_student(tiny_teacher: Teacher, tiny_teacher_base: LoadedBase) -> None:
    document, student = tiny_teacher_base.document, student_from_onnx(tiny_teacher_base.student)
    assert document.latent_channels == tiny_teacher.preset.latent_channels
    assert document.hyper_channels == tiny_teacher.preset.hyper_channels
    assert document.parameters == sum(parameter.numel() for parameter in student.parameters())
    assert (len(document.tables.y), len(document.scale_thresholds)) == (64, 63)
    assert document.hyper_clamp == HYPER_CLAMP


def test_slots_point_at_all_tensors_of_a_light_student(tiny_teacher_base: LoadedBase) -> None:
    constants = {
        each.name: numpy_helper.to_array(each)
        for each in onnx.load_from_string(tiny_teacher_base.student).graph.initializer
    }
    slots = tiny_teacher_base.document.tensors
    assert {slot.name for slot in slots} == set(constants)
    for slot in slots:
        raw = tiny_teacher_base.student[slot.offset : slot.offset + slot.length]
        values = np.frombuffer(raw, "<f4").reshape(slot.shape)
        assert np.array_equal(values, constants[slot.name])
        assert slot.name.endswith(slot.kind)
    assert {slot.kind for slot in slots} == set(get_args(type(slots[0]).model_fields["kind"].annotation))


def test_tables_of_the_latents_widen_with_the_scale(tiny_teacher_base: LoadedBase) -> None:
    for scale, frequency, offset in zip(
        scale_table(),
        tiny_teacher_base.document.tables.y.frequency,
        tiny_teacher_base.document.tables.y.offset,
        strict=True,
    ):
        pmf = np.array(frequency[:-1]) / TOTAL
        symbols = offset + np.arange(len(pmf))
        assert offset == -symbols[-1]
        if 0.5 < scale < 20.0:
            assert float(np.sqrt((pmf * symbols**2).sum())) == pytest.approx(
                np.sqrt(scale**2 + 1 / 12), rel=0.02
            )


def test_tables_of_the_hyper_latents_are_the_priors_likelihoods(tiny_teacher: Teacher) -> None:
    prior = tiny_teacher.hyperprior.z_prior
    tables = factorised_tables(prior)
    assert len(tables) == tiny_teacher.preset.hyper_channels
    for channel, (offset, frequency) in enumerate(zip(tables.offset, tables.frequency, strict=True)):
        assert offset >= -HYPER_CLAMP
        assert offset + len(frequency) - 2 <= HYPER_CLAMP
        symbols = torch.arange(offset, offset + len(frequency) - 1).float()
        grid = torch.zeros(1, len(tables), 1, len(symbols))
        grid[0, channel, 0] = symbols
        with torch.no_grad():
            likelihood = prior(grid, training=False)[1][0, channel, 0].numpy()
        np.testing.assert_allclose(np.array(frequency[:-1]) / TOTAL, likelihood, atol=2e-3)


def test_a_prior_that_is_nowhere_likely_still_gives_tables(tiny_teacher: Teacher) -> None:
    prior = type(tiny_teacher.hyperprior.z_prior)(2, init_scale=1e7)
    assert len(factorised_tables(prior)) == 2
