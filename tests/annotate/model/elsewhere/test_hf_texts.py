"""Are the texts of a vocabulary read as its encoder reads them, and is what it cannot read said before the job?"""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from annotate.errors import AnnotateError
from annotate.model.elsewhere.hf_encoder import texts_hash
from annotate.model.elsewhere.vocabulary import Vocabulary
from annotate.model.recipe import Recipe
from tests.annotate.model.elsewhere.tiny_encoders import WORDS, save_sentencepiece, saved_encoder

transformers = pytest.importorskip("transformers")


def words(*lines: str, templates: tuple[str, ...] = ("{}",)) -> Vocabulary:
    """Names, each with its prompts, and a background of walls."""
    named = [line.partition(":") for line in lines]
    return Vocabulary(
        names=tuple(name for name, _, _ in named),
        prompts=tuple(tuple((rest or name).split(";")) for name, _, rest in named),
        background=("wall",),
        templates=templates,
    )


def embeddings(folder: Path, vocabulary: Vocabulary) -> np.ndarray:
    network = Recipe.for_model(f"hf:{folder}", vocabulary=vocabulary).networks[0]
    assert network.texts is not None
    return network.texts


@pytest.mark.parametrize("kind", ["clip", "siglip"])
def test_an_embedding_is_that_of_its_text_alone_however_many_are_read_together(kind: str, tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / kind, kind)
    known = WORDS[3:-1]
    many = [f"{a} {b} {c}" for a in known for b in known for c in known[:2]]
    found = embeddings(folder, words(*many))
    assert found.shape == (len(many) + 1, 12 if kind == "clip" else 16)
    assert len(many) > 2 * 60
    model, tokenizer = (auto.from_pretrained(folder) for auto in (transformers.AutoModel, transformers.AutoTokenizer))
    for n in (0, 63, 64, len(many) - 1):
        with torch.inference_mode():
            tokens = tokenizer([many[n]], padding="max_length", max_length=8, return_tensors="pt")
            own = torch.nn.functional.normalize(model.get_text_features(**tokens).pooler_output, dim=-1)
        np.testing.assert_allclose(found[n], own[0], atol=1e-5)
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1, atol=1e-6)


def test_names_that_are_read_as_the_same_text_are_refused(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "clip")
    with pytest.raises(AnnotateError, match="hf:clip reads 'sofa' and 'couch' of the vocabulary as the same text"):
        embeddings(folder, words("sofa:couch", "couch"))
    with pytest.raises(AnnotateError, match="reads 'sofa' and 'wall' of the vocabulary as the same text"):
        embeddings(folder, words("cat", "sofa:wall"))
    with pytest.raises(AnnotateError, match="reads 'pet' and 'animal' of the vocabulary as the same text"):
        embeddings(folder, words("pet:cat;dog", "animal:dog;cat"))
    assert len(embeddings(folder, words("sofa:couch;a couch", "couch"))) == 3


def test_a_text_that_the_tokenizer_does_not_know_is_refused(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "siglip", "siglip")
    with pytest.raises(
        AnnotateError, match="'a \u732b' of the vocabulary has what the tokenizer of hf:siglip does not know"
    ):
        embeddings(folder, words("cat", "\u732b", templates=("a {}",)))
    assert len(embeddings(folder, words("\u732b:cat"))) == 2


def test_siglip_1_reads_small_letters_without_punctuation_with_its_own_tokenizer(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "siglip", "siglip")
    save_sentencepiece(folder)
    found = embeddings(folder, words("Cat!", templates=("a photo of a {}",)))
    numbers = transformers.AutoTokenizer.from_pretrained(folder).convert_tokens_to_ids
    tokens = [*map(numbers, ("\u2581a", "\u2581photo", "\u2581of", "\u2581a", "\u2581cat")), 1, 1, 1]
    assert 2 not in tokens  # the unknown word
    with torch.inference_mode():
        own = transformers.AutoModel.from_pretrained(folder).get_text_features(torch.tensor([tokens])).pooler_output
    np.testing.assert_allclose(found[0], torch.nn.functional.normalize(own, dim=-1)[0], atol=1e-5)


@pytest.mark.parametrize("name", ["\u732b", "!?"])
def test_a_text_of_which_the_tokenizer_reads_nothing_is_refused(name: str, tmp_path: Path) -> None:
    """SigLIP's leaves punctuation out, and also what it does not know at the beginning of a text."""
    folder = saved_encoder(tmp_path / "siglip", "siglip")
    save_sentencepiece(folder)
    why = f"the tokenizer of hf:siglip reads nothing of the text '{re.escape(name)}'"
    with pytest.raises(AnnotateError, match=why):
        embeddings(folder, words("cat", name))


def test_a_library_that_a_tokenizer_needs_is_named_with_the_extra(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without(*_: object, **__: object) -> None:
        raise ImportError("\nSiglipTokenizer requires\nthe SentencePiece library")

    folder = saved_encoder(tmp_path / "siglip", "siglip")
    monkeypatch.setattr(transformers.AutoTokenizer, "from_pretrained", without)
    why = r"ImportError: SiglipTokenizer requires the SentencePiece library\. .* pip install 'tokenlabel\[hf\]'"
    with pytest.raises(AnnotateError, match=f"cannot read the tokenizer of hf:siglip: {why}"):
        embeddings(folder, words("cat"))


def test_a_tokenizer_whose_unknown_word_ends_each_text_knows_all(tmp_path: Path) -> None:
    """CLIP's is like this: it reads bytes, so that it knows every text."""
    folder = saved_encoder(tmp_path / "clip")
    about = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(about | {"unk_token": "<eos>"}))
    assert len(embeddings(folder, words("cat"))) == 2


def test_the_longest_text_that_the_tower_takes_is_read(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "clip")
    assert len(embeddings(folder, words("cat", templates=("a photo of a {} cat cat",)))) == 2
    with pytest.raises(AnnotateError, match="it has 9 tokens, and the text tower takes 8"):
        embeddings(folder, words("cat", templates=("a photo of a {} cat cat cat",)))


def test_a_tower_that_gives_nan_is_named(tmp_path: Path) -> None:
    folder = saved_encoder(tmp_path / "clip")
    weights = load_file(folder / "model.safetensors")
    weights["text_projection.weight"][0, 0] = float("nan")
    save_file(weights, folder / "model.safetensors", {"format": "pt"})
    with pytest.raises(AnnotateError, match="the text tower of hf:clip gives NaN or infinity for the vocabulary"):
        embeddings(folder, words("cat"))


def test_the_hash_of_texts_changes_with_them_and_not_with_the_last_bits() -> None:
    texts = np.random.default_rng(0).normal(size=(3, 16)).round(3).astype(np.float32)
    assert texts_hash(texts + np.float32(1e-7)) == texts_hash(texts)
    changed = texts.copy()
    changed[2, 5] += 3e-5
    assert len({texts_hash(each) for each in (texts, changed, texts[::-1], texts.reshape(6, 8))}) == 4


@pytest.mark.parametrize(
    ("kind", "why"),
    [
        ("Siglip2", "Siglip2Model, .* is not supported: it takes patches of any number .*whose pictures have one size"),
        ("Tipsv2", "Tipsv2Model, .* is not supported: it has two class tokens"),
    ],
)
def test_an_encoder_that_is_not_supported_is_refused_with_the_reason(kind: str, why: str, tmp_path: Path) -> None:
    config = getattr(transformers, f"{kind}Config")(architectures=[f"{kind}Model"])
    config.save_pretrained(tmp_path / "other")
    model = f"hf:{tmp_path / 'other'}"
    with pytest.raises(AnnotateError, match=f"no vocabulary can be read with hf:other: {why}"):
        Recipe.for_model(model, vocabulary=words("cat"))
    with pytest.raises(AnnotateError, match=f"hf:other labels no pictures: its config.json names {kind}Model"):
        Recipe.for_model(model)
