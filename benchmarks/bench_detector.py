"""Is Facet's MTCNN the reference's, and how much faster? A table, then one JSON line.

    python -m benchmarks.bench_detector [--data FOLDER] [--quick]

Each picture is shown once to each engine after a warm-up, as a service meets its photos: to one and
the other in turn, eight pictures at a time, as a worker goes through them. TensorFlow prepares itself
for every new shape of input, so that photos shown again flatter it; that figure is in the table too, as
is the one for engines that alternate after every photo and find each other's data in the processor's
cache. Times are CPU seconds of one thread.
"""

import argparse
import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from pathlib import Path

import numpy as np

from benchmarks.detector.accuracy import SIZES, average_precisions, recall_by_size
from benchmarks.detector.cold_start import cold_start
from benchmarks.detector.engines import Engine, Rows
from benchmarks.detector.floor import crops_flops, p_net_flops
from benchmarks.detector.parity import BOX, CONFIDENCE, KEYPOINT, Parity
from benchmarks.detector.pictures import (
    PHOTO_SETS,
    Picture,
    data_folder,
    made_pictures,
    photos,
    wider_labels,
)

_BLOCK = 8  # pictures shown to one engine before the other

Times = dict[str, list[tuple[float, float]]]


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", help="folder of test photos (default: FACET_TEST_DATA or ../shared/data)")
    parser.add_argument("--quick", action="store_true", help="every tenth photo, no 12-megapixel picture")
    options = parser.parse_args(arguments)
    folder = data_folder(options.data)

    wider = photos(folder, "wider")[:: 10 if options.quick else 1]
    pictures = [*wider]
    for group in PHOTO_SETS[1:]:
        pictures += photos(folder, group)
    pictures += made_pictures(folder, largest=not options.quick)

    with Engine("reference") as reference, Engine("facet") as facet:
        warm_up = photos(folder, "dlib")[:3]
        for picture in warm_up:
            reference.detect(picture.load())
            facet.detect(picture.load())
        parity, times, found = _show_all(pictures, reference, facet)
        again = _show_again(wider[:: max(1, len(wider) // 10)], reference, facet)
        peak = reference.ask("peak_rss"), facet.ask("peak_rss")
        stages = _stages(wider[:: max(1, len(wider) // 20)], facet)

    _print_parity(parity, len(pictures))
    labels = wider_labels(folder)
    aps = {engine: average_precisions(found[engine], labels) for engine in ("reference", "facet")}
    _print_accuracy(aps, {engine: recall_by_size(found[engine], labels) for engine in aps})
    speedup, spread = _print_speed(times, again)
    print(f"\nPeak resident memory over all of this: reference {_mb(peak[0])}, Facet {_mb(peak[1])}")
    _print_stages(*stages)
    cold_speedup, rss_ratio = _cold_starts(wider[len(wider) // 2].path, 1 if options.quick else 5)

    result = {
        "parity_bad": len(parity.bad),
        "excused": len(parity.excused),
        "faces": parity.faces,
        "speedup": round(speedup, 2),
        "speedup_spread": [round(s, 2) for s in spread],
        "cold_speedup": round(cold_speedup, 2),
        "rss_ratio": round(rss_ratio, 3),
        "ap": {engine: [round(ap, 3) for ap in values] for engine, values in aps.items()},
    }
    print(json.dumps(result))


def _show_all(
    pictures: Sequence[Picture], reference: Engine, facet: Engine
) -> tuple[Parity, Times, dict[str, dict[str, Rows]]]:
    """Show every picture once to both; returns parity, CPU seconds by group, and the wider set's faces."""
    parity = Parity()
    times: Times = defaultdict(list)
    found: dict[str, dict[str, Rows]] = {"reference": {}, "facet": {}}
    for start in range(0, len(pictures), _BLOCK):
        block = pictures[start : start + _BLOCK]
        images = [picture.load() for picture in block]
        answers = {}
        for engine in (reference, facet) if start // _BLOCK % 2 else (facet, reference):
            answers[engine] = [engine.detect(image) for image in images]
        for picture, image, theirs, ours in zip(block, images, answers[reference], answers[facet], strict=True):
            parity.compare(picture, image, theirs, ours, reference)
            group = picture.name if picture.group == "size" else picture.group
            times[group].append((theirs.seconds, ours.seconds))
            if picture.group == "wider":
                found["reference"][picture.name], found["facet"][picture.name] = theirs.rows, ours.rows
    return parity, times, found


def _show_again(pictures: Iterable[Picture], reference: Engine, facet: Engine) -> list[tuple[float, float]]:
    """Median CPU seconds of five more showings of each picture, to both in turn."""
    result = []
    for picture in pictures:
        image = picture.load()
        seconds = [(reference.detect(image).seconds, facet.detect(image).seconds) for _ in range(5)]
        theirs, ours = np.median(seconds, axis=0)
        result.append((float(theirs), float(ours)))
    return result


def _stages(pictures: Sequence[Picture], facet: Engine) -> tuple[dict[str, float], float, float]:
    """Mean seconds of each stage and crops per photo, P-Net's mean operations, and the core's rate."""
    sums: dict[str, float] = defaultdict(float)
    flops, rates = [], []
    for picture in pictures:
        image = picture.load()
        rates.append(facet.ask("gemm"))
        for stage, value in facet.ask("stages", image).items():
            sums[stage] += value
        flops.append(p_net_flops(*image.shape[:2]))
    means = {stage: value / len(pictures) for stage, value in sums.items()}
    return means, float(np.mean(flops)), float(np.median(rates))


def _print_parity(parity: Parity, pictures: int) -> None:
    print(f"Parity: {pictures} pictures, {parity.faces} faces of the reference")
    print(f"  allowed: box {BOX} px, keypoints {KEYPOINT} px, confidence {CONFIDENCE}")
    print("  largest: box {:.4f} px, keypoints {:.4f} px, confidence {:.1e}".format(*parity.largest))
    for title, lines in (
        ("bad", parity.bad),
        ("excused", parity.excused),
        ("reference raises, taken as no faces", parity.raised),
    ):
        print(f"  {title}: {len(lines)}")
        for line in lines:
            print(f"    {line}")


def _print_accuracy(aps: dict[str, list[float]], recalls: dict[str, list[tuple[int, float]]]) -> None:
    print("\nAccuracy on wider, IoU 0.5   easy  medium    hard   recall by face height, px")
    heads = "".join(f"{f'{low}-{high}' if high < 10_000 else f'{low}+':>9}" for low, high in SIZES)
    print(f"{'':54}{heads}")
    for engine, values in aps.items():
        precision = "".join(f"{ap:8.3f}" for ap in values)
        print(f"  {engine:<25}{precision}   {'':<1}" + "".join(f"{r:9.3f}" for _, r in recalls[engine]))
    print(f"  {'faces':<52}" + "".join(f"{n:9d}" for n, _ in recalls["facet"]))


def _print_speed(times: Times, again: list[tuple[float, float]]) -> tuple[float, tuple[float, float]]:
    print("\nCPU ms a picture, one thread   pictures   reference    Facet   speedup   p10 - p90")
    speedup, spread = 0.0, (0.0, 0.0)
    for group, seconds in [*times.items(), ("wider, shown again", again)]:
        if group == "edge":
            continue  # mostly nothing to do
        pairs = np.array(seconds)
        ratios = pairs[:, 0] / pairs[:, 1]
        mean = float(np.exp(np.log(ratios).mean()))
        low, high = (float(value) for value in np.percentile(ratios, [10, 90]))
        theirs, ours = 1000 * pairs.mean(0)
        print(f"  {group:<28}{len(pairs):9d}{theirs:12.0f}{ours:9.0f}{mean:10.2f}{low:6.1f} -{high:5.1f}")
        if group == "wider":
            speedup, spread = mean, (low, high)
    return speedup, spread


def _print_stages(stages: dict[str, float], p_net: float, rate: float) -> None:
    crops = {stage: stages.pop(stage) for stage in list(stages) if stage.endswith("crops") and " " in stage}
    total = sum(stages.values())
    print(f"\nWhere Facet's time goes on wider, CPU ms a photo: {1000 * total:.1f}")
    for stage, seconds in stages.items():
        print(f"  {stage:<12}{1000 * seconds:8.1f}{100 * seconds / total:7.0f} %")
    flops = p_net + crops_flops(crops["r-net crops"], crops["o-net crops"])
    print(
        f"  crops a photo: {crops['r-net crops']:.0f} for R-Net, {crops['o-net crops']:.1f} for O-Net\n"
        f"  floor: {flops / 1e9:.2f} GFLOP (P-Net {p_net / 1e9:.2f}) at the core's {rate / 1e9:.0f} GFLOP/s for "
        f"matrix products = {1000 * flops / rate:.1f} ms, {100 * flops / rate / total:.0f} % of the time;\n"
        f"         P-Net alone reaches {100 * p_net / rate / stages['p-net']:.0f} % of the rate"
    )


def _cold_starts(photo: Path, rounds: int) -> tuple[float, float]:
    """Median wall time and memory of both, interleaved; returns the two ratios."""
    kinds = ("reference", "facet")
    for kind in kinds:
        cold_start(kind, photo)  # fills the page cache
    starts = [[cold_start(kind, photo) for kind in kinds] for _ in range(rounds)]
    print("\nNew process to first faces      wall s     CPU s   resident after it")
    walls, sizes = [], []
    for index, kind in enumerate(kinds):
        mine = [row[index] for row in starts]
        walls.append(float(np.median([s.wall for s in mine])))
        sizes.append(float(np.median([s.resident for s in mine])))
        cpu = float(np.median([s.cpu for s in mine]))
        print(f"  {kind:<28}{walls[-1]:8.2f}{cpu:10.2f}{_mb(sizes[-1]):>12}")
    print()
    return walls[0] / walls[1], sizes[1] / sizes[0]


def _mb(size: float) -> str:
    return f"{size / 1e6:.0f} MB"


if __name__ == "__main__":
    main()
