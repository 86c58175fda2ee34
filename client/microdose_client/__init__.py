"""The thin client of Microdose: push pictures, pull them back decoded. numpy and onnxruntime, no torch.

    Client            push, wait, pull, pictures, follow, info, export, jobs … over HTTP or Redis
    AsyncClient       the same for asyncio
    decode_file, file_info, file_pictures    the same for .mds files, without a server
    DecodedPicture, Info, Pulled, Step       what they hand out, all frozen
    Retry, Timeouts   how patient to be

Errors are those of `microdose.errors` and `microdose.problem.ProblemError`.
"""

from microdose.patience import Retry, Timeouts
from microdose_client.aio import AsyncClient
from microdose_client.client import Client
from microdose_client.offline import decode_file, file_info, file_pictures
from microdose_client.play import DecodedPicture
from microdose_client.progress import Step
from microdose_client.results import Info, Pulled

__all__ = [
    "AsyncClient",
    "Client",
    "DecodedPicture",
    "Info",
    "Pulled",
    "Retry",
    "Step",
    "Timeouts",
    "decode_file",
    "file_info",
    "file_pictures",
]
