"""Vocabularies and bytes: texts come back, files too, errors."""

from __future__ import annotations

import io as python_io
import json
from pathlib import Path

import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest

import tracejit as tj
import tracejit.numpy as jnp
from tracejit import io, nn
from tracejit.errors import (
    ArgumentError,
    DTypeError,
    FileError,
    MissingFileError,
    OutOfBoundsError,
    ShapeError,
)

ANY_TEXT = st.text(st.characters(exclude_categories=()), max_size=20)  # lone surrogates too
TEXTS = ["the cat sat on the mat", "The dog sat, too.", ""]


@hypothesis.given(ANY_TEXT, st.sampled_from(["uint8", "int16", "int32", "uint64"]))
def test_bytes_of_any_text(text: str, dtype: str) -> None:
    array = io.encode_bytes(text, dtype)
    assert array.dtype == dtype and array.ndim == 1
    assert bytes(np.asarray(array).astype(np.uint8)) == text.encode("utf-8", "surrogatepass")
    assert io.decode_bytes(array) == text


@hypothesis.given(st.lists(ANY_TEXT, max_size=4))
def test_vocabularies_of_bytes_and_characters_lose_nothing(texts: list[str]) -> None:
    for vocabulary in (io.byte_vocabulary(), io.character_vocabulary(texts)):
        encoded = vocabulary.encode_batch(texts, bos=True, eos=True)
        assert vocabulary.decode_batch(encoded.tokens) == texts
        assert vocabulary.decode_batch(encoded.tokens, encoded.lengths) == texts
        assert encoded.tokens.shape == encoded.mask.shape
        np.testing.assert_array_equal(np.asarray(encoded.mask).sum(1), encoded.lengths)


def test_bytes_that_are_no_text() -> None:
    broken = np.array([65, 255, 66])
    assert io.decode_bytes(broken) == "A\ufffdB" and io.decode_bytes(broken, "ignore") == "AB"
    assert io.decode_bytes([]) == "" and io.encode_bytes(b"\xff").tolist() == [255]
    with pytest.raises(ArgumentError, match="invalid start byte"):
        io.decode_bytes(broken, "strict")
    with pytest.raises(ArgumentError, match="errors is"):
        io.decode_bytes(broken, "other")
    with pytest.raises(OutOfBoundsError, match="256 is not in 0 to 255"):
        io.decode_bytes([256])
    with pytest.raises(ShapeError, match="one axis"):
        io.decode_bytes([[1]])
    with pytest.raises(DTypeError, match="integers, not float"):
        io.decode_bytes(np.ones(1))
    with pytest.raises(DTypeError, match="holds 255"):
        io.encode_bytes("a", "int8")
    with pytest.raises(ArgumentError, match="a str is needed, not int"):
        io.encode_bytes(3)  # type: ignore[arg-type]


def test_words() -> None:
    vocabulary = io.word_vocabulary(TEXTS, lowercase=True)
    assert vocabulary.tokens[:6] == ("<pad>", "<unk>", "<bos>", "<eos>", "the", "sat")
    assert (vocabulary.pad, vocabulary.unk, vocabulary.bos, vocabulary.eos) == (0, 1, 2, 3)
    assert vocabulary.decode(vocabulary.encode("THE Dog flew.")) == "the dog <unk> ."
    assert "cat" in vocabulary and vocabulary["the"] == 4 and len(vocabulary) == 13
    blanks = io.word_vocabulary(TEXTS, pattern=r"\S+")
    assert "sat," in blanks and "too." in blanks
    assert io.word_vocabulary(TEXTS, min_count=2).tokens[4:] == ("sat", "the")
    assert io.word_vocabulary(TEXTS, max_size=5).tokens[4:] == ("sat",)
    with pytest.raises(ArgumentError, match="no token 'bird'"):
        vocabulary["bird"]


def test_special_tokens() -> None:
    roles = {"unk": "?", "eos": "."}
    vocabulary = io.character_vocabulary(["ab.c"], specials=roles)
    assert vocabulary.tokens == ("?", ".", "a", "b", "c") and vocabulary.pad is None
    assert vocabulary.encode("a!").tolist() == [2, 0]
    assert vocabulary.decode([2, 0, 1, 3]) == "a?"
    assert vocabulary.decode([2, 0, 1, 3], skip_special=False) == "a?.b"
    with pytest.raises(ArgumentError, match="no bos token"):
        vocabulary.encode("a", bos=True)
    with pytest.raises(ArgumentError, match="no pad token"):
        vocabulary.encode_batch(["a", "ab"])
    none = io.character_vocabulary(["ab"], specials=())
    assert none.encode_batch(["ab", "ba"]).tokens.tolist() == [[0, 1], [1, 0]]
    with pytest.raises(ArgumentError, match="'c' is not in the vocabulary") as caught:
        none.encode("abc")
    assert "test_text.py" in str(caught.value)
    byte = io.byte_vocabulary(["<pad>"])
    assert (
        byte.encode("é").tolist() == [0xC3 + 1, 0xA9 + 1] and byte.decode([0, 66, 200]) == "A\ufffd"
    )
    for wrong in ("<pad>", ("a", "a"), ("a",) * 5, {"mask": "m"}, ("",), (3,)):
        with pytest.raises(ArgumentError, match="special"):
            io.byte_vocabulary(wrong)  # type: ignore[arg-type]


def test_batches_of_texts() -> None:
    vocabulary = io.character_vocabulary(["abc"])
    encoded = vocabulary.encode_batch(["abc", "", "b"], length=2, eos=True)
    assert encoded.tokens.tolist() == [[4, 5], [3, 0], [5, 3]]
    assert encoded.lengths.tolist() == [2, 1, 2]
    assert encoded.mask.tolist() == [[True, True], [True, False], [True, True]]
    assert {x.dtype.name for x in encoded} == {"int32", "bool"}
    assert vocabulary.encode_batch([]).tokens.shape == (0, 0)
    hot = tj.jit(lambda e: nn.one_hot(e.tokens, len(vocabulary)).sum())(encoded)
    assert float(hot) == 6
    with pytest.raises(ArgumentError, match="a list of texts"):
        vocabulary.encode_batch("abc")
    with pytest.raises(ShapeError, match="two axes"):
        vocabulary.decode_batch([1, 2])
    with pytest.raises(ShapeError, match="for 1 rows"):
        vocabulary.decode_batch([[1, 2]], lengths=[1, 2])
    with pytest.raises(OutOfBoundsError, match="7 is not in 0 to 6"):
        vocabulary.decode(jnp.array([7]))


def test_fitting_errors() -> None:
    with pytest.raises(ArgumentError, match="a list of texts"):
        io.word_vocabulary("one text")
    with pytest.raises(ArgumentError, match="a str is needed, not int"):
        io.word_vocabulary([3])  # type: ignore[list-item]
    with pytest.raises(ArgumentError, match="max_size is at least 4"):
        io.word_vocabulary(TEXTS, max_size=2)
    with pytest.raises(ArgumentError, match="min_count is at least 1"):
        io.word_vocabulary(TEXTS, min_count=0)
    with pytest.raises(ArgumentError, match="pattern"):
        io.word_vocabulary(TEXTS, pattern="(")


@pytest.mark.parametrize(
    "vocabulary",
    [
        io.byte_vocabulary(),
        io.character_vocabulary(["aé\ud800☃"], specials=("_",)),
        io.word_vocabulary(TEXTS, lowercase=True, pattern=r"\S+"),
    ],
    ids=["bytes", "characters", "words"],
)
def test_files(tmp_path: Path, vocabulary: io.Vocabulary) -> None:
    path = tmp_path / "v.json"
    vocabulary.save(path)
    back = io.load_vocabulary(path)
    assert back == vocabulary == io.Vocabulary.load(path) and hash(back) == hash(vocabulary)
    assert back.encode_batch(TEXTS[2:]).tokens.shape == (1, 0)
    assert back != io.byte_vocabulary(["<other>"])
    state = json.loads(path.read_text())
    raw = path.read_bytes()
    broken = [raw[: len(raw) // 2], b"{}", b"[]", b"\xff", b""]
    for change in ({"tokens": 3}, {"specials": {"pad": "none such"}}, {"level": []}):
        broken.append(json.dumps({**state, **change}).encode())
    broken.append(json.dumps({k: v for k, v in state.items() if k != "tokens"}).encode())
    for text in broken:
        path.write_bytes(text)
        with pytest.raises(FileError, match="v.json"):
            io.load_vocabulary(path)
    with pytest.raises(MissingFileError):
        io.load_vocabulary(tmp_path / "none.json")
    with pytest.raises(ArgumentError, match="binary file object"):
        vocabulary.save(python_io.StringIO())
