"""Find the faces."""

import time
from collections.abc import Iterator, Sequence
from uuid import UUID

from prefect import task
from prefect.cache_policies import NO_CACHE

from facet.detector.base import DetectedFace, DetectionParameters, Detector
from facet.jobs import FoundFace, ImageJob, Jobs
from facet.pictures.codec import Pixels
from facet.pictures.run_cache import Pictures
from facet.work.claims import Claims
from tasks.draw import draw_each
from tasks.each_image import TRANSIENT_RETRIES, each_image, note, seconds_since

_CHUNK_PIXELS = 8_000_000
_CHUNK_IMAGES = 4


@task(name="detect", task_run_name="detect", cache_policy=NO_CACHE, **TRANSIENT_RETRIES)
def detect(
    jobs: Jobs, pictures: Pictures, detector: Detector, claims: Claims, run_id: UUID, *, max_side: int | None
) -> Jobs:
    """Decode each picture, find its faces and draw them, a few pictures at a time, while their pixels are in hand.

    Those few are noted as in progress first: if the process dies of them, they alone are charged an attempt.
    """

    def decode(job: ImageJob) -> ImageJob:
        pictures.pixels(job)
        return job

    done = Jobs()
    for chunk in _chunks(jobs):
        if done and claims.must_yield(run_id):
            done += [job.with_changes(yielded=True) for job in jobs[len(done) :]]
            break
        claims.mark_in_progress(run_id, chunk)
        decoded = each_image("decode", chunk, decode)
        live = [job for job in decoded if job.live]
        found = iter(_detect(live, [pictures.pixels(job) for job in live], detector, max_side))
        done += draw_each([next(found) if job.live else job for job in decoded], pictures)
        pictures.let_go(chunk)
    return done


def _detect(
    jobs: Sequence[ImageJob], images: Sequence[Pixels], detector: Detector, max_side: int | None
) -> list[ImageJob]:
    if not jobs:
        return []
    begun = time.perf_counter()
    try:
        parameters = [_parameters(job, pixels, max_side) for job, pixels in zip(jobs, images, strict=True)]
        found = detector.detect(images, parameters)
    except Exception as error:
        if len(jobs) == 1:
            return [note(jobs[0], error)]
        return [_detect([job], [image], detector, max_side)[0] for job, image in zip(jobs, images, strict=True)]
    seconds = round(seconds_since(begun) / len(jobs), 4)
    return [
        job.with_changes(
            faces=[_found(face, job) for face in faces if face.confidence > job.min_confidence],
            detector=f"{detector.name} {detector.version}",
            timings=job.timings | {"detect": seconds},
        )
        for job, faces in zip(jobs, found, strict=True)
    ]


def _parameters(job: ImageJob, pixels: Pixels, max_side: int | None) -> DetectionParameters:
    first, second, last = DetectionParameters().thresholds
    return DetectionParameters(
        min_face_size=job.min_face_size,
        thresholds=(first, second, min(last, job.min_confidence)),
        max_side=max_side,
        full_size=None if pixels.shape[:2] == (job.height, job.width) else (job.width, job.height),
    )


def _found(face: DetectedFace, job: ImageJob) -> FoundFace:
    """Whole pixels, as the contract has them, the box clipped to the picture."""
    x, y, width, height = (round(value) for value in face.box)
    right, bottom = min(x + width, job.width), min(y + height, job.height)
    x, y = max(x, 0), max(y, 0)
    return FoundFace(
        confidence=face.confidence,
        box=[x, y, right - x, bottom - y],
        keypoints={name: [round(px), round(py)] for name, (px, py) in face.keypoints.items()},
    )


def _chunks(jobs: Sequence[ImageJob]) -> Iterator[list[ImageJob]]:
    """Neighbouring jobs, few enough to be held as pixels at once; each job is in exactly one chunk."""
    chunk: list[ImageJob] = []
    pixels = 0
    for job in jobs:
        size = job.width * job.height
        if chunk and (len(chunk) == _CHUNK_IMAGES or pixels + size > _CHUNK_PIXELS):
            yield chunk
            chunk, pixels = [], 0
        chunk.append(job)
        pixels += size
    if chunk:
        yield chunk
