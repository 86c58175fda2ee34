"""The commands of `microdose`: parsed arguments in, an outcome out. No printing here, no argument syntax.

Each `run_…` raises the errors of `microdose.errors`; the caller turns them into one line and an exit code.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from microdose.errors import BadUpload, Unavailable
from microdose.manifest import ByteCounts
from microdose.problem import ProblemError, make_problem
from microdose.resources import Job, JobState
from microdose_client.client import Client
from microdose_client.footage import Sent, pictures_from, publish
from microdose_client.frames import Frames, until_closed
from microdose_client.offline import decode_file, file_info
from microdose_client.progress import Report, Step, seldom
from microdose_client.remote import is_url
from microdose_client.results import Info, Pulled
from microdose_client.watch import Meter


@dataclass(frozen=True)
class Outcome:
    """What a command has to say: `value` (pydantic can serialise it) for machines, `text` for people."""

    value: object
    text: str


Command = Callable[[Namespace, Report], Outcome]


def _client(args: Namespace) -> Client:
    return Client(args.server, redis=args.redis, key=args.key)


def run_push(args: Namespace, report: Report) -> Outcome:
    """Send pictures; with --wait, stay until they are published, and fail if they are not."""
    if args.live:
        return _push_live(args, report)
    with _client(args) as client:
        more = {"refine": args.refine, "priority": args.priority}
        job = client.push(args.paths, progress=report, **more, **_wishes(args))
        if not args.wait:
            return Outcome(job, f"sequence {job.sequence} is queued as job {job.id}")
        job = _ended(client, job, report)
        sequence = client.sequence(job.sequence)
    if sequence.results is None:
        return Outcome(sequence, f"sequence {job.sequence} is published")
    done = sequence.results
    sums = _bytes(done.bytes, done.bpp_total)
    return Outcome(sequence, f"sequence {job.sequence} is published: {done.pictures} pictures, {sums}")


def _push_live(args: Namespace, report: Report) -> Outcome:
    """Publish pictures as they come, until there are no more or Ctrl-C."""
    if len(args.paths) > 1:
        raise BadUpload(f"--live takes one PATH, not {len(args.paths)}: a folder, a clip, or -")
    if args.refine is not None:
        raise BadUpload("--live takes no --refine: pictures are coded as they come, and seen seconds later")
    with _client(args) as client:
        with client.live(**_wishes(args)) as live:
            first = live.next
            report(Step("publishing", 0, 0, live.sequence))
            refused = publish(live, pictures_from(args.paths[0], sys.stdin.buffer, live.last), report)
        sequence = client.sequence(live.sequence)
        if args.wait and sequence.job:
            _ended(client, client.job(sequence.job), report)
            sequence = client.sequence(live.sequence)
    sent = Sent(sequence, sequence.next - first, refused)
    text = f"sequence {sequence.id} has ended: {sent.pictures} pictures sent, {refused} refused"
    if done := sequence.results if args.wait else None:
        text += f"; {done.pictures} are published: {_bytes(done.bytes, done.bpp_total)}"
    return Outcome(sent, text)


def _wishes(args: Namespace) -> dict[str, Any]:
    """What `push` and `live` of a Client take alike."""
    names = ("name", "dose", "aim", "lmbda", "dose_bytes", "dose_seconds", "profile", "resume")
    return {name: getattr(args, name) for name in names}


def run_pull(args: Namespace, report: Report) -> Outcome:
    """Decode a published sequence into a directory."""
    with _client(args) as client:
        report = seldom(report) if args.follow else report
        pulled = client.pull(args.sequence, args.out, follow=args.follow, progress=report)
    return Outcome(pulled, _pulled(pulled, args.out))


def run_watch(args: Namespace, report: Report) -> Outcome:
    """Decode a sequence as it comes and tell how it goes; with --pipe, write its frames to stdout."""
    frames = Frames(sys.stdout.buffer, args.pipe, args.fps) if args.pipe else None
    meter, reading, report = Meter(), None, seldom(report)
    with _client(args) as client, until_closed(sys.stdout), suppress(KeyboardInterrupt):
        start = args.start
        if start is None:
            start = 0 if client.info(args.sequence).ended else -1
        for picture in islice(client.follow(args.sequence, start=start), args.pictures):
            if frames is not None:
                frames.write(picture.pixels)
            reading = meter.show(picture, time.time())
            report(Step("watching", reading.pictures, 0, str(reading)))
    return Outcome(reading, str(reading or "no picture came"))


def run_decode(args: Namespace, report: Report) -> Outcome:
    """Decode an .mds file into a directory."""
    pulled = decode_file(args.file, args.out, progress=report)
    return Outcome(pulled, _pulled(pulled, args.out))


def run_info(args: Namespace, report: Report) -> Outcome:
    """Describe a published sequence or an .mds file."""
    path = Path(args.subject)
    if is_url(args.subject) or path.suffix == ".mds" or _is_file(path):
        info = file_info(args.subject)
    else:
        with _client(args) as client:
            info = client.info(args.subject)
    return Outcome(info, _info(info))


def run_export(args: Namespace, report: Report) -> Outcome:
    """Put a published sequence into one file."""
    with _client(args) as client:
        size = client.export(args.sequence, args.out, progress=report)
    return Outcome({"file": args.out, "bytes": size}, f"wrote {args.out}, {size} bytes")


def run_jobs(args: Namespace, report: Report) -> Outcome:
    """List the newest jobs."""
    with _client(args) as client:
        jobs = list(islice(client.jobs(), args.limit))
    return Outcome(jobs, "\n".join(map(_job, jobs)) or "no jobs")


def run_cancel(args: Namespace, report: Report) -> Outcome:
    """Ask for a job to be stopped."""
    with _client(args) as client:
        job = client.cancel(args.job)
    return Outcome(job, _job(job))


def _is_file(path: Path) -> bool:
    """Whether to read `path`, also where the system refuses to look: reading it then tells why."""
    try:
        return path.is_file()
    except OSError:
        return True


def _ended(client: Client, job: Job, report: Report) -> Job:
    """The job once it has succeeded. Raises what else became of it."""
    try:
        job = client.wait(job.id, progress=report)
    except Unavailable as error:
        error.add_note(f"job {job.id} goes on without us")
        raise
    if job.state is not JobState.SUCCEEDED:
        slug = "job-cancelled" if job.state is JobState.CANCELLED else "internal"
        raise ProblemError(job.error or make_problem(slug, f"job {job.id} ended as {job.state}"))
    return job


def _job(job: Job) -> str:
    progress = f" {job.phase or ''} {job.step}/{job.steps}" if job.state is JobState.RUNNING else ""
    reason = f" ({job.error.detail or job.error.title})" if job.error else ""
    return f"{job.id} {job.state}{progress}{reason}  sequence {job.sequence}  {job.created:%Y-%m-%d %H:%M:%S}"


def _bytes(counts: ByteCounts, bpp: float) -> str:
    return (
        f"{counts.total} bytes (latents {counts.latents}, dose {counts.dose}, headers {counts.headers}), "
        f"{bpp:.4f} bpp with everything counted"
    )


def _pulled(pulled: Pulled, out: Path) -> str:
    info, count = pulled.info, len(pulled.files)
    split = ", ".join(
        f"{stage} {total / max(count, 1):.1f}"
        for stage, total in (
            ("entropy", pulled.entropy_ms),
            ("hyper", pulled.hyper_ms),
            ("synthesis", pulled.synthesis_ms),
        )
    )
    listed = "" if count == info.pictures else f"the {info.pictures} that are still listed have "
    return (
        f"{count} pictures in {out}, {listed}{_bytes(info.bytes, info.bpp_total)}\n"
        f"{pulled.seconds:.1f} s in all; decoding one picture takes {split} ms"
    )


def _info(info: Info) -> str:
    rows = {
        "sequence": info.sequence,
        "name": info.name or "-",
        "version": f"{info.version}{'' if info.ended else ' (still open)'}",
        "pictures": f"{info.pictures} ({info.pixels} pixels)",
        "doses": ", ".join(info.doses) or "-",
        "bytes": _bytes(info.bytes, info.bpp_total),
        "base": f"{info.bytes.base} bytes, fetched once for all sequences of its teacher",
    }
    return "\n".join(f"{label:<9} {text}" for label, text in rows.items())
