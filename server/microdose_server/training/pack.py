"""From a checkpoint to a teacher that can be shipped."""

import json
from pathlib import Path

from microdose_server.codec.folder import DISCRIMINATOR, META
from microdose_server.codec.shipped import save_discriminator, save_teacher
from microdose_server.training.checkpoint import load_state


def pack(checkpoint: Path, preset: str, folder: Path, meta: dict[str, object]) -> str:
    """Write the averaged weights of a checkpoint in half precision, and meta.json, into `folder`; the
    discriminator as well, if the teacher was trained against one, in this stage or before.

    Returns the digest that is the teacher's identity. Raises UnsupportedVersion for a checkpoint of another
    preset.
    """
    state = load_state(checkpoint, preset)
    digest = save_teacher(preset, state.ema, folder)
    if state.discriminator:
        save_discriminator(preset, state.discriminator, folder)
    else:  # what another teacher has left here judges this one's pictures by other latents
        (folder / DISCRIMINATOR).unlink(missing_ok=True)
    told = {
        "preset": preset,
        "stage": state.stage,
        "steps": state.step,
        "training_seconds": round(state.seconds),
        **meta,
    }
    (folder / META).write_text(json.dumps({**told, "digest": digest}, indent=2) + "\n")
    return digest
