import torch

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.loop import Run
from microdose_server.training.noise import restore_noise
from microdose_server.training.peers import ALONE, Peers
from microdose_server.training.recipe import Recipe


def test_a_run_that_goes_on_in_more_processes_gives_each_other_noise_at_each_step() -> None:
    state, drawn = Run(Teacher(PRESETS["tiny"]), Recipe(), "cpu").state(), list[float]()
    for state.step in (5, 9):
        for rank in (0, 1):
            restore_noise(state, "cpu", Peers(rank, 2))
            noise = torch.rand(1).item()
            restore_noise(state, "cpu", Peers(rank, 2))
            assert noise == torch.rand(1).item()
            drawn.append(noise)
    assert len(set(drawn)) == len(drawn)


def test_one_that_goes_on_alone_has_the_noise_of_the_first() -> None:
    state = Run(Teacher(PRESETS["tiny"]), Recipe(), "cpu").state()
    state.torch_rng = torch.Generator().manual_seed(5).get_state()
    state.noise_rng = [torch.Generator().manual_seed(seed).get_state() for seed in (6, 7)]
    restore_noise(state, "cpu", ALONE)
    assert torch.equal(torch.rand(1), torch.rand(1, generator=torch.Generator().manual_seed(5)))
