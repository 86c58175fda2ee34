"""In what precision the layers of a teacher answer."""

from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn

from microdose_server.codec.teacher import Teacher


def assert_large_convolutions_answer_in_bfloat16(teacher: Teacher, act: Callable[[], object]) -> None:
    """In `act`; those of the hyperprior, and those that give y and the picture, in single precision."""
    found: dict[str, torch.dtype] = {}

    def note(name: str, _: nn.Module, __: object, answer: Tensor) -> None:
        found[name] = answer.dtype

    layers = {
        name: layer
        for name, layer in teacher.named_modules()
        if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d)
    }
    hooks = [layer.register_forward_hook(partial(note, name)) for name, layer in layers.items()]
    act()
    for hook in hooks:
        hook.remove()
    precise = {name for name in layers if name.startswith("hyperprior.")}
    precise |= {f"g_a.{len(teacher.g_a) - 1}", f"g_s.tail.{len(teacher.g_s.tail) - 1}"}
    assert found == {name: torch.float32 if name in precise else torch.bfloat16 for name in layers}
