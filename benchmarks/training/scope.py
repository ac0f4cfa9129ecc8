"""Scores of the scope check, compared on the same features of frozen networks (docs/results.md).

    python -m benchmarks.training.scope features OUT NAME... --data DATA
    python -m benchmarks.training.scope table OUT

DATA has chest_xray3, pneumoniamnist.npz, small/bccd, small/brain and weights. Every score has four
settings. On a set it gets the one that flags most on the other sets, so none is chosen on the
images that it is measured on. Each set is divided into images to fit, to calibrate and to test.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from sklearn.linear_model import LogisticRegression

from benchmarks.training.scope_images import MILD, NEAR, Picture, far_images
from benchmarks.training.scores import (
    Neighbors,
    disagreement,
    energy,
    relative_mahalanobis,
    virtual_logit,
)
from calibration.calibrators.temperature import apply_temperature, fit_temperature
from calibration.measures.summary import Measures
from calibration.scope.p_values import p_values
from calibration.scope.scores import Mahalanobis, SummedMahalanobis
from calibration.wording import percent
from model_store.bundle.scope_statistics import statistics
from model_store.image import InputSpec
from training.networks.classifier import build_classifier
from training.networks.scope_taps import find_taps

ALPHA, OF_KIND, MEMBERS = 0.05, 40, 5
DEFAULT = "sum of Mahalanobis, maps and image"
LITE0, WEIGHTS = "tf_efficientnet_lite0", "weights/tf_efficientnet_lite0.safetensors"
LAYERS = {"pooled": "last", "taps": "maps", "own": "image", "all": "maps and image"}
Rows = dict[str, NDArray[Any]]  # "KIND LAYER", (N, D)


@dataclass(frozen=True)
class Subject:
    """A network and a set. Without `weights` they are random: no others were at hand."""

    backbone: str
    source: str
    side: int
    weights: str | None = None


SUBJECTS = {
    "lite0 chest": Subject(LITE0, "chest_xray3", 224, WEIGHTS),
    "lite0 pneumonia": Subject(LITE0, "pneumoniamnist.npz", 112, WEIGHTS),
    "lite0 cells": Subject(LITE0, "small/bccd", 224, WEIGHTS),
    "lite0 brain": Subject(LITE0, "small/brain", 224, WEIGHTS),
    "resnet18 chest": Subject("resnet18", "chest_xray3", 112),
    "mobilenet cells": Subject("mobilenetv3_small_100", "small/bccd", 112),
    "small_conv pneumonia": Subject("small_conv", "pneumoniamnist.npz", 28),
}


def read_images(path: Path, *, most: int = 1100) -> tuple[list[Picture], NDArray[Any], list[str]]:
    """Images, labels (N,) and groups of a set."""
    if path.suffix == ".npz":
        arrays = np.load(path)
        chosen = np.random.default_rng(0).permutation(len(arrays["train_images"]))[:most]
        images = [Image.fromarray(each) for each in arrays["train_images"][chosen]]
        return images, arrays["train_labels"][chosen].ravel(), [str(each) for each in chosen]
    base = path / "train" if (path / "train").exists() else path
    files = [file for file in sorted(base.rglob("*")) if file.is_file()]
    gray = "bccd" not in str(path)
    images = [Image.open(file).convert("L" if gray else "RGB") for file in files]
    _, labels = np.unique([file.parent.name for file in files], return_inverse=True)
    return images, labels, [file.name.partition("__")[0] for file in files]


def thirds(groups: list[str]) -> NDArray[np.int64]:
    """0 to fit, 1 to calibrate or 2 to test, (N,); a group stays together."""
    names, at = np.unique(groups, return_inverse=True)
    order = np.random.default_rng(1).permutation(len(names)) / len(names)
    return np.digitize(order, (0.5, 0.8))[at]


def write_features(name: str, data: Path, out: Path) -> None:
    """Compute the features of a subject's images, of every kind."""
    subject = SUBJECTS[name]
    channels = 1 if subject.backbone == "small_conv" else 3
    spec = InputSpec(channels, subject.side, subject.side)
    network = build_classifier(
        subject.backbone,
        data / subject.weights if subject.weights else "none",
        spec=spec,
        class_count=2,
        reduction=8,
        frozen=True,
        seed=0,
        head="pooled",
    ).eval()
    taps = find_taps(network, spec)

    def rows(images: list[Picture]) -> tuple[NDArray[Any], ...]:
        mode, side = "L" if channels == 1 else "RGB", (subject.side, subject.side)
        found: list[tuple[NDArray[Any], ...]] = []
        for start in range(0, len(images), 16):
            shown = [
                np.asarray(image.convert(mode).resize(side, Image.Resampling.BILINEAR))
                for image in images[start : start + 16]
            ]
            pixels = np.stack(shown).reshape(len(shown), *side, channels).transpose(0, 3, 1, 2)
            pixels = np.ascontiguousarray(pixels)
            with torch.inference_mode():
                batch = torch.from_numpy(pixels)
                pooled = network.backbone(batch).mean(dim=(2, 3)).numpy()
                maps = taps(batch)[1].numpy() if taps else pooled[:, :0]
            found.append((pooled, maps, statistics(pixels)))
        return tuple(np.concatenate(each) for each in zip(*found, strict=True))

    images, labels, groups = read_images(data / subject.source)
    part = thirds(groups)
    kinds = {
        each: [images[at] for at in np.flatnonzero(part == number)]
        for number, each in enumerate(("fit", "calibrate", "test"))
    }
    some = kinds["test"][:: max(1, len(kinds["test"]) // OF_KIND)][:OF_KIND]
    kinds |= {kind: [change(image) for image in some] for kind, change in (NEAR | MILD).items()}
    for other in sorted({each.source for each in SUBJECTS.values()} - {subject.source}):
        kinds[f"of {other}"] = read_images(data / other, most=OF_KIND)[0][::1][-OF_KIND:]
    kinds["duplicates"] = kinds["fit"][:OF_KIND]
    arrays: Rows = {
        f"{name}labels": labels[part == number]
        for number, name in enumerate(("", "calibrate ", "test "))
    }
    for kind, pictures in (kinds | far_images(OF_KIND)).items():
        arrays |= zip((f"{kind} {layer}" for layer in LAYERS), rows(pictures), strict=False)
    np.savez(out / f"{name}.npz", **arrays)


Scorer = Callable[[str], NDArray[Any]]  # kind of image -> scores


def read_rows(path: Path) -> Rows:
    """The features of a subject, with all of maps and image beside each other."""
    rows = dict(np.load(path))
    for kind in _kinds(rows):
        rows[f"{kind} all"] = np.concatenate([rows[f"{kind} taps"], rows[f"{kind} own"]], axis=1)
    return rows


def _kinds(rows: Rows) -> set[str]:
    return {each.rsplit(" ", 1)[0] for each in rows if not each.endswith("labels")}


def scorers(rows: Rows) -> Iterator[tuple[str, Scorer]]:
    """Each score with each of its four settings, by the name of the score."""
    labels = rows["labels"]
    probes = [_probe(rows["fit pooled"], labels, seed) for seed in range(MEMBERS)]
    logits = _logits(probes[0])
    for layer, described in LAYERS.items():
        fitted = rows[f"fit {layer}"]
        if not fitted.shape[1]:
            continue

        def of(score: Callable[..., Any], layer: str = layer) -> Scorer:
            return lambda kind: score(rows[f"{kind} {layer}"])

        for k in (1, 5, 10, 25):
            yield f"neighbors, {described}", of(Neighbors.fit(fitted, k=k))
        for kept in (0.25, 0.5, 0.75, 1.0):  # of the features, those that vary most
            used = np.argsort(fitted.std(axis=0))[-max(2, round(kept * fitted.shape[1])) :]
            yield f"Mahalanobis, {described}", of(_on(used, Mahalanobis.fit(fitted[:, used])))
            relative = relative_mahalanobis(fitted[:, used], labels)
            yield f"relative Mahalanobis, {described}", of(_on(used, relative))
        for kept in (16, 32, 64, 128):
            score = virtual_logit(fitted, logits(rows["fit pooled"]), kept=kept)
            yield (
                f"ViM, {described}",
                lambda kind, score=score, layer=layer: score(  # type: ignore[misc]
                    rows[f"{kind} {layer}"], logits(rows[f"{kind} pooled"])
                ),
            )
    yield from _sums(rows)
    for t in (0.5, 1.0, 2.0, 10.0):
        yield "energy", lambda kind, t=t: energy(logits(rows[f"{kind} pooled"]), temperature=t)  # type: ignore[misc]
    for members in (2, 3, 4, 5):
        used_probes = probes[:members]
        yield (
            "disagreement",
            lambda kind, used=used_probes: disagreement(  # type: ignore[misc]
                np.stack([each.predict_proba(rows[f"{kind} pooled"]) for each in used])
            ),
        )


def _sums(rows: Rows) -> Iterator[tuple[str, Scorer]]:
    """The product's score, with a part of the maps' features or with all of them."""
    maps = rows["fit taps"].std(axis=0)
    image = np.arange(len(maps), rows["fit all"].shape[1])
    for kept in (0.25, 0.5, 0.75, 1.0):
        used = np.append(np.sort(np.argsort(maps)[len(maps) - round(kept * len(maps)) :]), image)
        score = _on(used, SummedMahalanobis.fit(rows["fit all"][:, used], len(used) - len(image)))
        yield DEFAULT, lambda kind, score=score: score(rows[f"{kind} all"])  # type: ignore[misc]


def _on(used: NDArray[Any], score: Callable[..., Any]) -> Callable[..., Any]:
    return lambda rows: score(rows[:, used])


def _probe(fitted: NDArray[Any], labels: NDArray[Any], seed: int) -> Any:
    """A linear probe on a bootstrap sample that has every class."""
    random = np.random.default_rng(seed)
    drawn = np.concatenate(
        [random.integers(0, len(labels), len(labels)), np.unique(labels, return_index=True)[1]]
    )
    probe = LogisticRegression(C=0.01, max_iter=300)
    return probe.fit(fitted[drawn], labels[drawn])


def _logits(probe: Any) -> Callable[[NDArray[Any]], NDArray[Any]]:
    def logits(rows: NDArray[Any]) -> NDArray[Any]:
        found = probe.decision_function(rows)
        return np.stack([0 * found, found], axis=1) if found.ndim == 1 else np.asarray(found)

    return logits


def flagged(rows: Rows) -> dict[str, list[dict[str, float]]]:
    """By score, for each setting, the share of each kind of image with a p-value up to ALPHA."""
    kinds = sorted(_kinds(rows) - {"fit", "calibrate"})
    found: dict[str, list[dict[str, float]]] = {}
    for name, score in scorers(rows):
        known = score("calibrate")
        share = {kind: float((p_values(known, score(kind)) <= ALPHA).mean()) for kind in kinds}
        found.setdefault(name, []).append(share)
    return found


FAR = ("noise", "photographs", "digits", "blank")


def groups_of(share: dict[str, float]) -> dict[str, float]:
    """Means over the kinds of images."""
    other = [kind for kind in share if kind.startswith("of ")]
    return {
        "test": share["test"],
        "far": float(np.mean([share[kind] for kind in FAR])),
        "near": float(np.mean([share[kind] for kind in (*NEAR, *other)])),
        "mild": float(np.mean([share[kind] for kind in MILD])),
        "duplicates": share["duplicates"],
    }


def shares_of_splits(rows: Rows, splits: int = 20) -> list[tuple[float, int, int]]:
    """Of random splits of the own images: the share flagged, how many calibrated and tested."""
    own = np.concatenate([rows[f"{each} all"] for each in ("fit", "calibrate", "test")])
    found = []
    for seed in range(splits):
        order = np.random.default_rng(seed).permutation(len(own))
        fit, calibrate, test = np.split(order, [len(own) // 2, len(own) * 4 // 5])
        score = SummedMahalanobis.fit(own[fit], rows["fit taps"].shape[1])
        p = p_values(score(own[calibrate]), score(own[test]))
        found.append((float((p <= ALPHA).mean()), len(calibrate), len(test)))
    return found


def within(share: float, calibrated: int, tested: int) -> bool:
    """Whether a share among `tested` images is as likely as the card says: 95 of 100 are."""
    a = int(ALPHA * (calibrated + 1))
    drawn = np.random.default_rng(0).beta(a, calibrated + 1 - a, 20_000)
    shares = np.random.default_rng(1).binomial(tested, drawn) / tested
    low, high = np.quantile(shares, (0.025, 0.975))
    return bool(low <= share <= high)


def measures_of_the_rest(rows: Rows) -> tuple[Measures, Measures]:
    """Measures of a calibrated linear probe on test images: all, and those not flagged."""
    logits = _logits(_probe(rows["fit pooled"], rows["labels"], 0))
    temperature = fit_temperature(logits(rows["calibrate pooled"]), rows["calibrate labels"])
    answers = apply_temperature(logits(rows["test pooled"]), temperature)
    score = SummedMahalanobis.fit(rows["fit all"], rows["fit taps"].shape[1])
    kept = p_values(score(rows["calibrate all"]), score(rows["test all"])) > ALPHA
    labels = rows["test labels"]
    return (
        Measures.from_probabilities(answers, labels),
        Measures.from_probabilities(answers[kept], labels[kept]),
    )


def print_table(out: Path) -> None:
    """Print figures by score and subject as Markdown."""
    subjects = [name for name in SUBJECTS if (out / f"{name}.npz").exists()]
    by_name = {name: read_rows(out / f"{name}.npz") for name in subjects}
    by_subject = {name: flagged(by_name[name]) for name in subjects}
    print("| score |", " | ".join(subjects), "|\n|---|" + "---|" * len(subjects))
    for score in by_subject[subjects[0]]:
        cells = []
        for name in subjects:
            if score not in by_subject[name]:
                cells.append("none")
                continue
            others = [
                each[score] for key, each in by_subject.items() if key != name and score in each
            ]
            worth = [
                np.mean([(g := groups_of(each[at]))["far"] + g["near"] for each in others])
                for at in range(4)
            ]
            found = groups_of(by_subject[name][score][int(np.argmax(worth))])
            cells.append(" ".join(f"{100 * each:.0f}" for each in found.values()))
        print(f"| {score} | " + " | ".join(cells) + " |")
    print("\n(percent flagged in scope, far, near, mild, duplicates)\n")
    for name in subjects:
        share = by_subject[name][DEFAULT][3]
        print(f"{name}:", ", ".join(f"{kind} {percent(value)}" for kind, value in share.items()))
        shares = shares_of_splits(by_name[name])
        print(
            f"    within the interval in {sum(within(*each) for each in shares)} of {len(shares)} "
            f"splits, mean share {percent(float(np.mean([each[0] for each in shares])))}"
        )
        everything, rest = map(_figures, measures_of_the_rest(by_name[name]))
        print(f"    all {everything}, not flagged {rest}")


def _figures(found: Measures) -> str:
    return f"accuracy {percent(found.accuracy)} ECE {percent(found.ece)}"


def main() -> None:
    """Compute features, or print the table of those that there are."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=("features", "table"))
    parser.add_argument("out", type=Path)
    parser.add_argument("names", nargs="*", default=[])
    parser.add_argument("--data", type=Path)
    asked = parser.parse_args()
    torch.set_num_threads(1)
    for name in asked.names if asked.what == "features" else ():
        write_features(name, asked.data, asked.out)
    if asked.what == "table":
        print_table(asked.out)


if __name__ == "__main__":
    main()
