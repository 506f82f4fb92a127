"""Does each label of a batch reach the row of its own picture?"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from annotate.errors import PictureError
from annotate.images import FolderImages
from annotate.images.decode import decode
from annotate.jobs.labelling.shard_labels import ShardLabels
from annotate.model.annotator import Annotator
from annotate.model.recipe import Recipe
from storage import Status


def test_batches_are_written_into_their_rows_and_the_others_say_why_they_are_empty(
    val: Path, recipe: Recipe, single_threaded: None
) -> None:
    source, annotator = FolderImages(val), Annotator(recipe, k=3)
    pictures = [decode(source.reader.read(handle)) for handle in source.handles[:3]]
    expected = annotator(pictures)
    labels = ShardLabels(range(40, 44), annotator)
    labels.leave_out(42, PictureError(Status.MISSING, "the file is gone"))
    for rows, chosen in (([43], [2]), ([40, 41], [0, 1])):
        labels.write(rows, annotator([pictures[n] for n in chosen]))
    found = labels.label_map()
    assert found.status.tolist() == [0, 0, Status.MISSING, 0]
    assert labels.reasons == {42: "the file is gone"}
    for place, n in ((0, 0), (1, 1), (3, 2)):
        assert (found[place].classes[..., 0] == expected[n].classes[..., 0]).mean() > 0.99
        assert np.abs(found[place].scores - expected[n].scores).max() < 1e-4
        assert (found[place].boxes == expected[n].boxes).all()
        assert (found[place].sizes == expected[n].sizes).all()
    assert not np.allclose(expected[0].scores, expected[1].scores, atol=1e-3), "all are equal: nothing is shown"
    assert (found[2].sizes == 0).all()
    assert np.isnan(found[2].boxes).all()
