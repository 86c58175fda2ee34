from microdose.changes import matrix_shape
from microdose_server.evaluate.compare import Comparison, bytes_of, comparison_sheet
from microdose_server.training.data import Pixels
from tests.tiny_base import tiny_base


def test_every_variant_of_every_picture(
    dosed: Comparison, segments: list[bytes], originals: list[Pixels]
) -> None:
    pulled = [dosed.decoders["student"].decode(data).pixels for data in segments]
    first, second = dosed.pictures(originals, pulled)
    assert set(first.shown) == {"original", "teacher", "generic", "dosed", "webp", "avif"}
    assert all(shown.shape == originals[0].shape for shown in first.shown.values())
    assert (second.shown["dosed"] == pulled[1]).all()
    assert (first.shown["generic"] != first.shown["dosed"]).any()
    assert (first.shown["teacher"] != first.shown["generic"]).any()
    assert second.report.name == "1.png"
    assert set(second.report.decode_ms) == {"teacher", "student"}


def test_without_a_dose_the_generic_student_is_the_dosed_one(
    undosed: Comparison, originals: list[Pixels]
) -> None:
    first = next(undosed.pictures(originals))
    assert first.report.psnr["generic"] == first.report.psnr["dosed"]
    assert undosed.params()["dose"] == 0


def test_parameters_are_counted_as_they_are_sent(dosed: Comparison) -> None:
    """The tiny dose holds for each tensor a gain of every row, two factors of rank 1, and a difference."""
    weights = tiny_base().document.parameters
    shapes = [matrix_shape(slot) for slot in tiny_base().document.tensors]
    numbers = sum(rows + rows + rest + rows * rest for rows, rest in shapes)
    assert dosed.params() == {"teacher_decoder": weights, "student": weights, "dose": numbers}


def test_the_bytes_of_a_segment_add_up(segments: list[bytes]) -> None:
    counts = bytes_of(segments[0], dose=7)
    assert counts.latents + counts.headers == len(segments[0])
    assert counts.total == len(segments[0]) + 7
    assert 0 < counts.headers < 100


def test_the_sheet_has_a_row_for_each_of_a_few(dosed: Comparison, originals: list[Pixels]) -> None:
    one = next(dosed.pictures(originals))
    small, large = comparison_sheet([one]), comparison_sheet([one] * 9, rows=3)
    assert large.width == small.width >= 6 * originals[0].shape[1]
    assert 2 * small.height < large.height < 3 * small.height
