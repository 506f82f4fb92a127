"""Do the benchmarks of stores measure what they say? Of each a small slice; no time is asserted."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest

from annotate.class_names import Names, read_names
from benchmarks.names import FOLDERS, absent_key, key
from benchmarks.reference import CLASS_COUNT, PHOTOGRAPHS, Maps, write_pickles
from benchmarks.storage import entropy, keys, light, reads, scale, size
from benchmarks.storage.fidelity import Fidelity, divergence
from demo import study
from demo.photographs.collection import photographs
from demo.studies import runs
from storage import open_store, verify
from storage.labelmap import no_class
from tests.demo.here import Here

ROOT = Path(__file__).parents[2]
PEAKED = np.array([200, 9, 5, 3, 2], np.uint8)  # score codes of a location


def test_the_divergence_is_that_of_two_coins() -> None:
    p, q = 0.5, 0.2
    expected = p * np.log(p / q) + (1 - p) * np.log((1 - p) / (1 - q))
    assert divergence(np.array([[p]]), np.array([[q]]))[0] == pytest.approx(expected)
    assert divergence(np.array([[p]]), np.array([[p]]))[0] == 0
    assert divergence(np.array([[0.0]]), np.array([[q]]))[0] == pytest.approx(-np.log(1 - q))


def test_the_divergence_is_of_k_classes_and_the_remainder() -> None:
    p, q = np.array([0.5, 0.3, 0.1]), np.array([0.4, 0.3, 0.2])
    expected = sum(a * np.log(a / b) for a, b in ((0.5, 0.4), (0.3, 0.3), (0.1, 0.2), (0.1, 0.1)))
    found = Fidelity.of(np.stack([p, p]), np.stack([p, q]))
    assert found.mean == pytest.approx(expected / 2)
    assert found.maximum == pytest.approx(expected)


def test_a_class_that_is_lost_costs_much_and_not_everything() -> None:
    assert divergence(np.array([[1e-3]]), np.array([[0.0]]))[0] == pytest.approx(1e-3 * np.log(1e9), rel=0.1)


def test_constant_maps_have_almost_no_entropy() -> None:
    classes = np.tile(np.arange(5, dtype=np.uint16), (32, 9, 9, 1))
    found = entropy.bound(classes, np.tile(PEAKED, (32, 9, 9, 1)), CLASS_COUNT)
    assert found.total < 15  # the five ids once: 5 log2(1000) bits


@pytest.mark.parametrize("class_count", [200, 1000])
def test_random_classes_cost_what_their_number_costs(class_count: int) -> None:
    rng = np.random.default_rng(0)
    classes = np.argsort(rng.random((32, 9, 9, class_count)), -1)[..., :5].astype(np.uint16)
    found = entropy.bound(classes, np.tile(PEAKED, (32, 9, 9, 1)), class_count)
    assert found.classes * 8 / (9 * 9 * 5) == pytest.approx(np.log2(class_count), rel=0.08)
    assert found.scores < 3


def test_random_scores_cost_what_they_hold() -> None:
    rng = np.random.default_rng(0)
    codes = np.tile(PEAKED, (64, 9, 9, 1))
    codes[..., 4] = rng.integers(1, 3, codes.shape[:-1])
    classes = np.tile(np.arange(5, dtype=np.uint16), (64, 9, 9, 1))
    found = entropy.bound(classes, codes, CLASS_COUNT)
    assert found.scores * 8 / (9 * 9) == pytest.approx(1, rel=0.1)


def test_what_the_other_half_has_taught_is_what_counts() -> None:
    """Two halves that differ: each is coded with counts that do not fit, and costs more than with its own."""
    codes = np.tile(PEAKED, (32, 9, 9, 1))
    classes = np.tile(np.arange(5, dtype=np.uint16), (32, 9, 9, 1))
    alike = entropy.bound(classes, codes, CLASS_COUNT)
    codes[16:, ..., 4] = 1
    assert entropy.bound(classes, codes, CLASS_COUNT).scores > 20 * alike.scores


def test_ranks_without_a_class_are_counted() -> None:
    rng = np.random.default_rng(0)
    classes = np.tile(np.arange(5, dtype=np.uint16), (64, 9, 9, 1))
    codes = np.tile(PEAKED, (64, 9, 9, 1))
    whole = entropy.bound(classes, codes, CLASS_COUNT)
    lost = rng.random(classes.shape[:-1]) < 0.5
    classes[lost, 4], codes[lost, 4] = no_class(classes.dtype), 0
    found = entropy.bound(classes, codes, CLASS_COUNT)
    # One bit says whether it is there. Where neither neighbour has it, it costs which of the five it is.
    assert 1 < (found.classes - whole.classes) * 8 / (9 * 9) < 1.5
    assert found.scores < 3


def test_the_reference_maps_are_labels_and_pickles_of_the_same_content() -> None:
    maps = Maps.load(16)
    labels = maps.labels(20)
    assert len(labels) == 20
    assert (labels.classes[16:] == maps.classes[:4]).all()
    assert (maps.pickled[:, 1].transpose(0, 2, 3, 1) == maps.classes).all()
    # Logits and probabilities of one location differ by the logarithm of one sum.
    logits = maps.pickled[:, 0].transpose(0, 2, 3, 1).astype(np.float32)
    offset = logits - np.log(maps.probabilities)
    assert np.abs(offset - offset.mean(-1, keepdims=True)).max() < 0.02


def test_sizes_are_of_all_files_and_the_table_has_each(tmp_path: Path) -> None:
    both = size.measure(tmp_path, 16)
    found, address = both.reference, tmp_path / "reference/labels.zarr"
    files = sum(path.stat().st_size for path in address.rglob("*") if path.is_file())
    assert found.finalized == pytest.approx(files / 16)
    assert found.finished < found.finalized
    assert found.pickle == pytest.approx(8041, rel=0.06)  # 7,644 by torch 2.6
    assert found.fidelity.mean < 1e-4
    assert found.fidelity.percentile_99 < 1e-3
    store = open_store(address)
    assert {"classes", "scores", "boxes", "sizes", "status", "targets", "keys", "metadata"} <= found.arrays.keys()
    assert found.bound.total < found.arrays["classes"] + found.arrays["scores"]
    level = next(one for one in found.alternatives if one.name == "the same, zstd level 9")
    assert level.bytes == pytest.approx(found.arrays["classes"] + found.arrays["scores"], abs=10)
    text = both.describe()
    for name in (*found.arrays, *(one.name for one in found.alternatives), "finished store", "entropy bound: both"):
        assert f"| {name}" in text
    plain = json.loads(json.dumps(both.to_json()))
    assert plain["bound"]["classes"] == found.bound.classes
    assert plain["photographs"]["bound"]["classes"] == both.photographs.bound.classes
    assert "| maps of photographs |" in text
    assert (store.targets >= 0).all()


def test_the_maps_of_photographs_are_labels_of_a_real_network() -> None:
    """Of both networks, 14 x 14 locations, named as the demo's photographs are, in a file that is small."""
    maps = Maps.load(file=PHOTOGRAPHS)
    known, names = photographs(), Names(CLASS_COUNT, read_names(Path("imagenet-1k")))
    assert maps.classes.shape == (2 * len(known), 14, 14, 5)
    assert PHOTOGRAPHS.stat().st_size < 300_000
    assert (maps.probabilities.sum(-1) < 1.001).all()
    assert (np.diff(maps.probabilities, axis=-1) <= 0).all()
    right = 0
    for n, one in enumerate(known * 2):
        mass = np.bincount(maps.classes[n].ravel(), maps.probabilities[n].ravel(), minlength=CLASS_COUNT)
        right += int(mass.argmax()) == names.number(one.class_name)
    assert right > 0.8 * len(maps)


def test_what_the_pages_say_of_size_is_said_of_reference_maps_and_of_real_ones() -> None:
    """README and docs/costs.md have the figures of docs/performance.md, of both kinds of maps."""
    readme, costs, page = ((ROOT / name).read_text() for name in ("README.md", "docs/costs.md", "docs/performance.md"))
    for kind, quoted, row in (
        ("reference maps", "sure nearly everywhere", "bytes a location for classes and scores, reference maps"),
        ("maps of photographs", "maps of the demo's photographs", "of the demo's photographs"),
    ):
        (measured,) = re.findall(rf"^\| {kind}, .*? \| .* \| .* \| (.*) \| (.*) \| .* \| (.*) \|$", page, flags=re.M)
        kept, bound, pickled = (float(figure) for figure in measured)
        assert re.search(rf"^\| .*{quoted} \| {kept:.1f} \| {pickled:.1f}: ", readme, flags=re.M)
        assert re.search(
            rf"^\| .*{row} \| {kept:.1f} \(an ideal coder: {bound:.1f}\) \| {pickled:.1f} ", costs, flags=re.M
        )


def test_readers_read_the_same(tmp_path: Path) -> None:
    maps, rows = Maps.load(), np.array([3, 17, 18, 31])
    pickles = write_pickles(maps, tmp_path / "pickles", 32)
    store = reads.write_store(maps, tmp_path / "labels.zarr", 32)
    expected = store.read(rows)
    for batched, readers in (
        (True, reads.in_batches(tmp_path / "labels.zarr", pickles)),
        (False, reads.singly(tmp_path / "labels.zarr", pickles)),
    ):
        assert {"zarr-python", "zarr-python with zarrs", "tensorstore"} <= readers.keys()
        for name, read in readers.items():
            classes, values = read(rows)
            mine = (expected.classes, expected.scores) if batched else (expected.classes[-1], expected.scores[-1])
            if "torch" in name:  # logits of all classes, in other axes
                assert (np.moveaxis(classes.numpy(), -3, -1)[mine[1] > 0] == mine[0][mine[1] > 0]).all()
            else:
                assert (classes == mine[0]).all()
                assert (values == mine[1]).all()


def test_reads_are_shown_for_every_reader(tmp_path: Path) -> None:
    found = reads.measure(tmp_path, rows=32, rounds=2, batch=4)
    text = found.describe()
    for timing in (*found.single, *found.batched):
        assert len(timing.seconds) == 2
        assert f"| {timing.name} " in text
    assert text.count("| store.read ") == 2
    assert len(json.loads(json.dumps(found.to_json()))["single"]) == len(found.single)


def test_keys_are_shown_for_every_way(tmp_path: Path) -> None:
    found = keys.measure(tmp_path, rows=1000, rows_per_shard=64, lookups=50, reads=20, repeats=1)
    text = found.describe()
    for name in keys.WAYS.values():
        assert f"| {name} " in text
    assert found.ways["dict"].read is None
    assert found.ways["store"].read is not None
    assert json.loads(json.dumps(found.to_json()))["rows"] == 1000


def test_keys_are_distinct_and_absent_ones_are_absent() -> None:
    rows = 30_000
    names = {key(row, rows) for row in range(rows)}
    assert len(names) == rows
    assert len({name.partition("/")[0] for name in names}) == FOLDERS
    assert key(0, rows).startswith("n01440764/n01440764_")
    assert not names & {absent_key(row, rows) for row in range(rows)}


def test_every_step_of_every_size_finds_what_it_must(tmp_path: Path) -> None:
    found = scale.measure(tmp_path, rows=(3000, 300_000))
    assert [(one.rows, one.shards) for one in found.sizes] == [(3000, 3), (300_000, 293)]
    assert all(one.steps.keys() == scale.STEPS.keys() for one in found.sizes)
    assert all(step.peak > 10 for one in found.sizes for step in one.steps.values())
    assert found.describe().count("| 300,000 |") == 2
    assert len(json.loads(json.dumps(found.to_json()))["sizes"]) == 2


def test_made_keys_are_the_same_alone_and_together() -> None:
    keys = scale.Keys(2500)
    assert keys[900:1100] == [keys[row] for row in range(900, 1100)]
    assert len(set(keys)) == 2500


def test_a_filled_store_is_as_if_written(tmp_path: Path) -> None:
    maps = Maps.load(8)
    store = reads.write_store(maps, tmp_path / "labels.zarr", 20)
    keys._write_store(tmp_path / "keys.zarr", [key(row, 20) for row in range(20)], 8)
    for name in ("labels.zarr", "keys.zarr"):
        assert verify(open_store(tmp_path / name), deep=True).state == "ok"
    assert not store.pending()


def test_light_stores_are_smaller_by_each_setting_and_the_table_has_each(tmp_path: Path) -> None:
    found = light.measure(tmp_path, 8)
    sizes = [each.bytes for each in found.values()]
    full, coarse, fewer, both, _, least = sizes
    assert full > coarse > both > least
    assert full > fewer > both
    assert found["as labelled: k 5, 18x18"].coding < found["--coarse 8"].coding < 0.1
    assert all(each.all > found["as labelled: k 5, 18x18"].all for name, each in list(found.items())[1:])
    text = light.describe(found, {name: light.Learned(0.973, [0.9, 0.92]) for name in found})
    assert all(name in text for name in light.SETTINGS)
    assert re.search(r"97\.3 \| +91\.0 ± 1\.4", text)


@pytest.mark.usefixtures("single_threaded")
def test_students_of_light_stores_are_trained_once_each(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (study, runs):
        monkeypatch.setattr(module, "pool", Here)  # tests/demo has a study that uses processes
    monkeypatch.setattr(light, "SETTINGS", {name: light.SETTINGS[name] for name in ("--k 3", "--grid 9x9 --coarse 8")})
    small = {"seeds": 2, "epochs": 1, "pictures": 64, "steps": 2}
    found = light.students(tmp_path, **small)
    assert [*found] == [*light.SETTINGS]
    assert all(0 <= each.truth <= 1 and len(each.accuracy) == 2 for each in found.values())
    stores = [open_store(path).schema for path in sorted((tmp_path / "light").iterdir())]
    assert [(schema.grid, schema.k) for schema in stores] == [((9, 9), 5), ((18, 18), 3), ((18, 18), 5)]
    lines = (tmp_path / "light.jsonl").read_text()
    assert light.students(tmp_path, **small) == found
    assert (tmp_path / "light.jsonl").read_text() == lines
