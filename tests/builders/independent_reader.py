"""A reader of bundles that follows docs/bundle.md, section by section, and nothing of Candor.

It is run as a file, in a process that cannot import Candor: `independent_reader.py BUNDLE TAGS IMAGE
...` prints an answer for each image as JSON.
"""

import hashlib
import io
import json
import sys
from pathlib import Path

import numpy as np
import onnxruntime
from PIL import Image, ImageOps


def verify(folder):  # 1. Verify
    data = (folder / "manifest.json").read_bytes()
    manifest = json.loads(data)
    if manifest["format_version"] != 1:
        sys.exit("refused: another format version of the manifest")
    if (json.dumps(manifest, sort_keys=True, indent=2) + "\n").encode() != data:
        sys.exit("refused: the manifest is spelled in another way")
    found = {path.name for path in folder.iterdir() if not path.name.startswith(".")} - {
        "manifest.json"
    }
    if found != set(manifest["files"]):
        sys.exit(f"refused: files and manifest differ: {found ^ set(manifest['files'])}")
    contents = {}
    for name, entry in manifest["files"].items():
        contents[name] = (folder / name).read_bytes()
        same = hashlib.sha256(contents[name]).hexdigest() == entry["sha256"]
        if not same or len(contents[name]) != entry["size_bytes"]:
            sys.exit(f"refused: {name} differs from the manifest")
    card = json.loads(contents["card.json"])
    if (card["name"], card["version"]) != (manifest["name"], manifest["version"]):
        sys.exit("refused: the card is another model's")
    return contents, card


def check(card):  # 2. Read the card
    if card["format_version"] != 2:
        sys.exit("refused: another format version of the card")


def pixels(data, spec):  # 3. Turn a file into pixels
    image = Image.open(io.BytesIO(data))
    white_is_zero = image.format == "TIFF" and image.tag_v2.get(262) == 0
    image.load()
    if image.mode.startswith("I;16") and white_is_zero:
        image = Image.fromarray(0xFFFF - np.asarray(image, np.uint16))
    image = ImageOps.exif_transpose(image)
    gray = image.mode in ("1", "L", "LA", "I") or image.mode.startswith("I;16")
    mode = "L" if spec["channels"] == 1 or gray else "RGB"
    if image.mode == "I" or image.mode.startswith("I;16"):
        image = Image.fromarray((np.clip(np.asarray(image), 0, 65535) >> 8).astype(np.uint8))
    elif image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        rgba = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", rgba.size, (0, 0, 0, 255)), rgba)
    image = image.convert(mode)
    size = (spec["width"], spec["height"])
    if image.size != size:
        box = None
        if spec["resize"] == "crop":
            scale = min(image.width / size[0], image.height / size[1])
            width, height = scale * size[0], scale * size[1]
            left, top = max(0.0, (image.width - width) / 2), max(0.0, (image.height - height) / 2)
            box = (left, top, min(left + width, image.width), min(top + height, image.height))
        image = image.resize(size, Image.Resampling.BILINEAR, box=box)
    array = np.asarray(image, dtype=np.uint8)
    if mode == "L":
        return np.repeat(array[np.newaxis], spec["channels"], axis=0)
    return array.transpose(2, 0, 1)


def lowest_of(sets, classes):
    return sets.get("thresholds") or [sets["threshold"]] * classes


def calibrated(row, described, tags):
    referral, sets = described.get("referral"), described.get("conformal")
    referred, lowest = referral and referral["threshold"], sets and lowest_of(sets, len(row))
    for each in described["calibration"].get("subgroups") or ():
        if tags.get(each["key"]) in each["values"]:
            z = np.log(np.maximum(np.float64(row), 1.1754944e-38)) / each["temperature"]
            z += each["class_bias"] or 0.0
            row = (np.exp(z - z.max()) / np.exp(z - z.max()).sum()).tolist()
            own, own_sets = each["referral"], each["conformal"]
            referred = referral and (own["threshold"] if own else 2.0)
            nothing = {"threshold": 0.0}
            lowest = sets and lowest_of(own_sets or nothing, len(row))
    return row, referred, lowest


def members(classes, row, lowest):
    return [name for name, p, least in zip(classes, row, lowest, strict=True) if p >= least]


def finding(p, described, tags):
    row, _, lowest = calibrated([1 - p, p], described, tags)
    answer = {"probability": row[1], "present": row[1] >= described["threshold"]}
    if lowest is not None:
        answer["prediction_set"] = members(("absent", "present"), row, lowest)
        answer["refer"] = len(answer["prediction_set"]) != 1
    return answer


def main(folder, tags, *images):
    contents, card = verify(Path(folder))
    check(card)
    # 4. Run the graph
    session = onnxruntime.InferenceSession(
        contents["model.onnx"], providers=["CPUExecutionProvider"]
    )
    batch = np.stack([pixels(Path(image).read_bytes(), card["input"]) for image in images])
    answers = []
    for row in session.run(["probabilities"], {"image": batch})[0].tolist():  # 5. Answer
        if asked := card.get("findings"):
            pairs = zip(asked, row, strict=True)
            found = {each["name"]: finding(p, each, json.loads(tags)) for each, p in pairs}
            answers.append({"findings": found})
            continue
        row, referred, lowest = calibrated(row, card, json.loads(tags))
        confidence = max(row)
        answer = {
            "predicted": card["classes"][row.index(confidence)],
            "confidence": confidence,
            "probabilities": dict(zip(card["classes"], row, strict=True)),
            "refer": None if referred is None else confidence < referred,
        }
        if lowest is not None:
            answer["prediction_set"] = members(card["classes"], row, lowest)
        answers.append(answer)
    print(json.dumps(answers))


if __name__ == "__main__":
    main(*sys.argv[1:])
