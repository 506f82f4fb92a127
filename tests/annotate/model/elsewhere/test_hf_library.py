"""Is Transformers asked for float32 numbers and no foreign code, and left as it was found?"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from annotate.errors import AnnotateError
from annotate.model.annotator import Annotator
from annotate.model.elsewhere.hf_network import HubNetwork
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.test_hf_network import own_answer, probabilities
from tests.annotate.model.elsewhere.tiny_networks import noise, saved

transformers = pytest.importorskip("transformers")


def test_weights_of_half_precision_are_computed_with_in_float32(tmp_path: Path) -> None:
    folder, picture = saved(tmp_path / "segformer", "segformer"), noise(0)
    auto = transformers.AutoModelForSemanticSegmentation
    auto.from_pretrained(folder).half().save_pretrained(folder)
    assert json.loads((folder / "config.json").read_text())["dtype"] == "float16"
    recipe = Recipe.for_model(f"hf:{folder}")
    assert {each.dtype for each in recipe.networks[0].build().parameters()} == {torch.float32}
    auto.from_pretrained(folder, dtype="float32").save_pretrained(tmp_path / "as float32")
    (folder / "preprocessor_config.json").rename(tmp_path / "as float32" / "preprocessor_config.json")
    own = own_answer(tmp_path / "as float32", "AutoModelForSemanticSegmentation", picture).logits.softmax(1)
    (tmp_path / "as float32" / "preprocessor_config.json").rename(folder / "preprocessor_config.json")
    np.testing.assert_allclose(probabilities(Annotator(recipe, k=3), picture), own[0].permute(1, 2, 0), atol=1e-5)


def test_code_that_lies_beside_the_weights_is_not_run(tmp_path: Path) -> None:
    folder = saved(tmp_path / "vit", "vit")
    (folder / "theirs.py").write_text(f"open({str(tmp_path / 'has run')!r}, 'w')\nraise RuntimeError\n")
    for file, autos in (
        ("config.json", ("AutoConfig", "AutoModelForImageClassification")),
        ("preprocessor_config.json", ("AutoImageProcessor",)),
    ):
        about = json.loads((folder / file).read_text())
        about["auto_map"] = {auto: f"theirs.{auto}" for auto in autos}
        (folder / file).write_text(json.dumps(about))
    Annotator(Recipe.for_model(f"hf:{folder}"), k=1)  # Transformers has its own code for this type
    about = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(about | {"model_type": "theirs"}))
    with pytest.raises(AnnotateError, match=r"cannot read the configuration, config.json of hf:vit: ValueError"):
        Recipe.for_model(f"hf:{folder}")
    assert not (tmp_path / "has run").exists()


@pytest.mark.parametrize("has_bars", [True, False])
def test_the_log_of_transformers_is_afterwards_as_it_was(has_bars: bool, tmp_path: Path) -> None:
    log = transformers.utils.logging
    before = log.get_verbosity(), log.is_progress_bar_enabled()
    folder = saved(tmp_path / "vit", "vit")
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "config.json").write_text("{}")
    try:
        log.set_verbosity_info()
        (log.enable_progress_bar if has_bars else log.disable_progress_bar)()
        Recipe.for_model(f"hf:{folder}").networks[0].build()
        with pytest.raises(AnnotateError):
            Recipe.for_model(f"hf:{tmp_path / 'empty'}")
        assert (log.get_verbosity(), log.is_progress_bar_enabled()) == (log.INFO, has_bars)
    finally:
        log.set_verbosity(before[0])
        (log.enable_progress_bar if before[1] else log.disable_progress_bar)()


def test_what_is_given_for_the_input_goes_before_the_processor(tmp_path: Path) -> None:
    model = f"hf:{saved(tmp_path / 'vit', 'vit')}"
    for given in ({"mean": (0.1, 0.2, 0.3)}, {"std": (0.4, 0.5, 0.6)}, {"interpolation": "nearest"}):
        network = HubNetwork.of(model, **given)
        assert {name: getattr(network, name) for name in given} == given


def test_a_folder_that_is_elsewhere_on_a_worker_is_looked_for_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = Recipe.for_model(f"hf:{saved(tmp_path / 'here' / 'vit', 'vit')}")
    (tmp_path / "here").rename(tmp_path / "there")
    monkeypatch.chdir(tmp_path / "there")
    assert Annotator(recipe, k=1).grid == (8, 16)
    assert recipe.networks[0].provenance(recipe.networks[0].build())["full_name"] == "hf:vit"
