from dataclasses import fields, replace

from benchmarks.parts.comparison import Measured, Quality, Rival, curves, figures, mean

JPEG, TWICE = Rival("jpeg"), Rival("jpeg", 2.0)


def quality(value: float) -> Quality:
    return Quality(*(value for _ in fields(Quality)))


def measured(value: float) -> Measured:
    return Measured(quality(value), {JPEG: quality(value + 1), TWICE: quality(value + 2)})


def without_dists(value: float) -> Measured:
    found = measured(value)
    rivals = {rival: replace(each, dists=None) for rival, each in found.rivals.items()}
    return Measured(replace(found.teacher, dists=None), rivals)


def test_the_mean_is_over_pictures() -> None:
    assert mean([measured(1), measured(4)]) == measured(2.5)
    assert mean([without_dists(1), without_dists(4)]) == without_dists(2.5)


def test_figures_quote_the_rivals_at_equal_bytes_only() -> None:
    found = figures(measured(0.5))
    assert found["bpp"] == found["psnr"] == found["ms_ssim"] == found["lpips"] == found["dists"] == 0.5
    assert (
        found["bpp_at_equal_bytes"] == found["lpips_at_equal_bytes"] == found["bytes_ratio"] == {"jpeg": 1.5}
    )


def test_a_curve_holds_all_rates_of_a_codec() -> None:
    teacher, jpeg = curves(measured(0.5), "microdose-tiny", "two pictures")
    assert (teacher.name, teacher.results["bpp"]) == ("microdose-tiny", [0.5])
    assert (jpeg.name, jpeg.results["lpips"]) == ("jpeg", [1.5, 2.5])
    assert jpeg.results["dists"] == [1.5, 2.5]
    assert not any("dists" in curve.results for curve in curves(without_dists(0.5), "tiny", ""))
