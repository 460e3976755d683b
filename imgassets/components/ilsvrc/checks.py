"""What is proven of an ILSVRC dataset's artifacts, with numbers."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import dagster as dg
import numpy as np

from imgassets.classes import imagenet_classes
from imgassets.commit import Manifest
from imgassets.components.checks import Finding, all_accounted_for, artifact_check
from imgassets.errors import ImgassetsError, MissingUpstream, one_line
from imgassets.formats.imagenet_records import names_digest
from imgassets.formats.tf_example import image_example, parse
from imgassets.images.header import BadImage
from imgassets.images.judge import read_header
from imgassets.io.artifacts import Artifact, Artifacts
from imgassets.progress import tell
from imgassets.sources import sharding


def ilsvrc_checks(
    index: dg.AssetsDefinition, records: dg.AssetsDefinition, shards: dict[str, int], spread: sharding.Spread
) -> list[dg.AssetChecksDefinition]:
    """All checks of one dataset."""
    return [
        artifact_check(index, "labels_in_range", _labels_in_range),
        artifact_check(index, "archive_md5", _archive_md5, warn=True),
        artifact_check(index, "images_decode", _images_decode, warn=True),
        artifact_check(index, "all_synsets", _all_synsets, warn=True),
        artifact_check(index, "all_accounted_for", all_accounted_for),
        artifact_check(records, "records_sound", records_sound),
        _every_image_once(index, records, shards, spread),
    ]


def _labels_in_range(index: Artifact) -> Finding:
    """Every image has a class_id 0..999 and a label from 1, the order of both is that of the sorted synsets, and the
    rows are numbered from 0 in the order of synset and name."""
    table = index.open().table(["index", "synset", "class_id", "label"])
    kinds = table.group_by(["synset", "class_id", "label"]).aggregate([]).sort_by("class_id").to_pylist()
    class_ids, labels = ([int(kind[column]) for kind in kinds] for column in ("class_id", "label"))
    passed = (
        all(imagenet_classes().class_id(kind["synset"]) == kind["class_id"] for kind in kinds)
        and all(np.diff(class_ids) > 0)
        and all(np.diff(labels) > 0)
        and labels[0] >= 1
        and np.array_equal(table["index"].to_numpy(), np.arange(len(table)))
    )
    numbers = {"rows": len(table), "lowest": labels[0], "highest": labels[-1], "classes": len(kinds)}
    return Finding(passed, numbers, f"labels {labels[0]}..{labels[-1]} of {len(kinds)} classes")


def _archive_md5(index: Artifact) -> Finding:
    """The archive has the MD5 that MD5SUMS beside it states, else the published one; a repacked archive never has."""
    archive = index.open().report["archive"]
    passed = archive["md5"] == archive["expected_md5"]
    found = f"{archive['bytes']} bytes" if archive["md5"] is None else f"the MD5 {archive['md5']}"
    says = f"{archive['expected_bytes']}" if archive["md5"] is None else archive["expected_md5"]
    return Finding(passed, archive, f"{archive['file']} has {found}, {archive['expected_by']} says {says}")


def _images_decode(index: Artifact) -> Finding:
    """Every image decodes to its end without complaint; those that do not are listed with the reason."""
    report = index.open().report
    damaged, warnings, strays = (report[name] for name in ("damaged", "warnings", "strays"))
    listed = [f"{item['name']} {item['reason']}" for item in [*damaged, *warnings, *strays]]
    numbers = {"images": report["images"], "damaged": len(damaged), "warnings": len(warnings), "strays": len(strays)}
    text = f"{len(damaged)} of {report['images']} images are damaged, {len(warnings)} decode with a complaint"
    text += f", {len(strays)} other files are no images" if strays else ""
    return Finding(not listed, numbers | ({"listed": listed[:100]} if listed else {}), text)


def _all_synsets(index: Artifact) -> Finding:
    """All 1000 synsets occur; a warning for a part of the release."""
    found = index.open().report["images_per_synset"]
    missing = [synset for synset in imagenet_classes().synsets if synset not in found]
    counts = list(found.values())
    numbers = {"synsets": len(found), "fewest_images": min(counts), "most_images": max(counts), "missing": missing[:20]}
    return Finding(not missing, numbers, f"{len(found)} of 1000 synsets, {min(counts)} to {max(counts)} images each")


def records_sound(shard: Artifact) -> Finding:
    """Every record passes its CRCs and holds one RGB or gray JPEG of the size it states, under a name that occurs once;
    label and synset agree in all of them; there are as many as the manifest says."""
    facts = shard.manifest.facts
    problems: list[str] = []
    names: Counter[str] = Counter()
    labels: dict[str, set[int]] = {}
    for record in shard.open():
        image = image_example(parse(record))
        names[image.filename] += 1
        labels.setdefault(image.synset, set()).add(image.label)
        try:
            header = read_header(image.encoded)
        except BadImage as error:
            problems.append(f"{image.filename} {error}")
        else:
            if not header.is_ordinary or (header.width, header.height) != (image.width, image.height):
                found = f"a {header.colour} {header.kind} of {header.width} x {header.height}"
                problems.append(f"{image.filename} is {found}, the record says {image.width} x {image.height}")
    problems += [f"{name} occurs {count} times" for name, count in names.items() if count > 1]
    problems += [f"{synset} has the labels {sorted(found)}" for synset, found in labels.items() if len(found) > 1]
    if names.total() != facts["rows"] or names_digest(names.elements()) != facts["names"]:
        problems.append(f"{names.total()} records, other images than the {facts['rows']} the manifest speaks of")
    numbers = {"records": names.total(), "classes": len(labels), "problems": problems[:20]}
    return Finding(not problems, numbers, problems[0] if problems else f"{names.total()} records are sound")


def _every_image_once(
    index: dg.AssetsDefinition, records: dg.AssetsDefinition, shards: dict[str, int], spread: sharding.Spread
) -> dg.AssetChecksDefinition:
    @dg.asset_check(asset=records, name="every_image_once", additional_ins={"tar_index": dg.AssetIn(index.key)})
    def every_image_once(tfrecords: Artifacts, tar_index: Artifacts) -> dg.AssetCheckResult:
        """Over all shards, every image of the index that has no problem is in exactly one record.

        Compares each shard's list of names, by its checksum in the manifest, with the images that the index, the seed
        and the number of shards give it; `records_sound` compares the manifest with the records. A warning as long as
        an index or shards are missing.
        """
        tell("checking every_image_once")
        found = {split: _Found(tfrecords, tar_index[split], split, shards[split], spread) for split in shards}
        problems = [problem for one in found.values() for problem in one.problems]
        missing = [name for one in found.values() for name in one.missing]
        numbers: dict[str, Any] = {"missing_shards": sum(name in tfrecords for name in missing)}
        for split, one in found.items():
            numbers |= {f"{split}_images": one.images, f"{split}_records": one.records}
        if problems:
            text = problems[0] + (f" And {len(problems) - 1} more problems." if len(problems) > 1 else "")
        elif missing:
            text = f"not yet: {missing[0]}" + (f" and {len(missing) - 1} more are" if len(missing) > 1 else " is")
            text += " still missing"
        else:
            text = "every image is in exactly one record"
        return dg.AssetCheckResult(
            passed=not (problems or missing),
            metadata=numbers | {"problems": problems[:20], "missing": missing[:20]},
            severity=dg.AssetCheckSeverity.ERROR if problems else dg.AssetCheckSeverity.WARN,
            description=one_line(text),
        )

    return every_image_once


class _Found:
    """What the shards of one split hold, beside what its index gives them."""

    def __init__(self, tfrecords: Artifacts, index: Artifact, split: str, shards: int, spread: sharding.Spread) -> None:
        self.images = 0
        self.missing: list[str] = []
        """The index and the shards that are not there yet."""
        self.problems: list[str] = []
        """A sentence for each that is damaged, and for each shard that holds other images than it should."""
        table = self._there(f"the index of {split}", lambda: index.open().table(["name", "problem"]))
        manifests = [self._there(key, lambda key=key: tfrecords[key].manifest) for key in sharding.stems(split, shards)]  # type: ignore[misc]
        self.records = sum(manifest.facts["rows"] for manifest in manifests if manifest)
        if table is not None:
            self._compare(table, manifests, spread)

    def _there(self, name: str, look: Callable[[], Any]) -> Any:
        """What `look` finds; None, and a note, where it is missing or damaged."""
        try:
            return look()
        except MissingUpstream:
            self.missing.append(name)
        except ImgassetsError as error:
            self.problems.append(str(error))

    def _compare(self, table: Any, manifests: Sequence[Manifest | None], spread: sharding.Spread) -> None:
        sound = table["problem"].is_null().to_numpy()
        self.images = int(sound.sum())
        order: Any = None
        for shard, manifest in enumerate(manifests):
            if manifest is None:
                continue
            if order is None:  # that of the first shard there is: others of another seed then hold other images
                order = sharding.shuffled(len(table), manifest.settings.get("seed"))
            place = sharding.chunk(len(table), len(manifests), shard, spread)
            rows = order[place.start : place.stop]
            if names_digest(table["name"].take(rows[sound[rows]]).to_pylist()) != manifest.facts["names"]:
                self.problems.append(f"{manifest.recipe.partition} holds other images than it should.")
