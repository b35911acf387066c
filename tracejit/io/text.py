"""Text to arrays of numbers and back: bytes, and vocabularies of characters or words.

>>> vocabulary = word_vocabulary(["the cat sat", "the dog sat down"])
>>> vocabulary.encode("the cat ran")
Array([5, 6, 1], dtype=int32)
>>> vocabulary.decode(vocabulary.encode("the dog sat"))
'the dog sat'
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import numpy as np

from tracejit.errors import (
    ArgumentError,
    DTypeError,
    FileError,
    OutOfBoundsError,
    ShapeError,
    user_methods,
)
from tracejit.frontend.array import Array, from_numpy
from tracejit.io.files import held, reading, title, unreadable, whole, writing
from tracejit.source import here

#: a word, or one character that is neither part of a word nor a blank
_WORD = r"\w+|[^\w\s]"
_LEVELS = ("bytes", "characters", "words")
_ROLES = ("pad", "unk", "bos", "eos")


class Encoded(NamedTuple):
    """Texts as numbers, padded to one length.

    ``tokens`` (N, L) int32, ``lengths`` (N,) int32, ``mask`` (N, L) bool: true where a token is.
    """

    tokens: Array
    lengths: Array
    mask: Array


# ---- bytes ----


def encode_bytes(text: str | bytes, dtype: Any = "uint8") -> Array:
    """The UTF-8 bytes of a text as (L,), of an integer dtype that holds 0 to 255.

    Raises ArgumentError for what is no text, DTypeError.

    >>> encode_bytes("día", dtype="int32")
    Array([100, 195, 173,  97], dtype=int32)
    """
    what = "io.encode_bytes"
    wanted = np.dtype(dtype)
    if wanted.kind not in "iu" or wanted == np.int8:
        raise DTypeError(f"{what}: an integer dtype that holds 255, not {wanted}", at=here())
    raw = text if isinstance(text, bytes | bytearray) else _utf8(_text(what, text))
    return from_numpy(np.frombuffer(raw, np.uint8).astype(wanted))


def decode_bytes(array: Any, errors: str = "replace") -> str:
    """The text of UTF-8 bytes (L,), of any integer dtype.

    ``errors``: what becomes of bytes that are no UTF-8: "replace" (by U+FFFD), "ignore", or
    "strict" (ArgumentError). Raises ShapeError, DTypeError, OutOfBoundsError outside of 0 to 255.

    >>> decode_bytes(encode_bytes("día"))
    'día'
    """
    what = "io.decode_bytes"
    values = _numbers(what, array, 256)
    return _from_utf8(what, values.astype(np.uint8).tobytes(), errors)


def _utf8(text: str) -> bytes:
    # halves of surrogate pairs stand in some files' names and in JSON: they come back too
    return text.encode("utf-8", "surrogatepass")


def _from_utf8(what: str, raw: bytes, errors: str) -> str:
    if errors not in ("replace", "ignore", "strict"):
        raise ArgumentError(f'{what}: errors is "replace", "ignore" or "strict"', at=here())
    try:
        return raw.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError as error:
        if errors == "strict":
            raise ArgumentError(f"{what}: {error}", at=here()) from None
        return raw.decode("utf-8", errors)


def _text(what: str, text: Any) -> str:
    if not isinstance(text, str):
        raise ArgumentError(f"{what}: a str is needed, not {type(text).__name__}", at=here())
    return text


def _numbers(what: str, array: Any, count: int) -> np.ndarray:
    values = held(what, array)
    if values.ndim != 1:
        raise ShapeError(f"{what}: one axis, not shape {values.shape}", at=here())
    if values.dtype.kind not in "iu":
        if values.size:
            raise DTypeError(f"{what}: integers, not {values.dtype}", at=here())
        values = values.astype(np.int32)
    outside = values[(values < 0) | (values >= count)]
    if outside.size:
        raise OutOfBoundsError(f"{what}: {outside[0]} is not in 0 to {count - 1}", at=here())
    return values


# ---- vocabularies ----


@user_methods("encode", "encode_batch", "decode", "decode_batch", "save", "__getitem__")
class Vocabulary:
    """Tokens and their numbers. Made by ``byte_``, ``character_`` and ``word_vocabulary``.

    ``tokens``: all of them, special ones first; ``level``: "bytes", "characters" or "words";
    ``pad``, ``unk``, ``bos``, ``eos``: numbers of the special tokens, None for those it has not.
    ``len(vocabulary)`` is the number of tokens, ``token in vocabulary`` and ``vocabulary[token]``
    look one up.
    """

    def __init__(
        self,
        tokens: Sequence[str],
        level: str,
        specials: dict[str, str],
        *,
        lowercase: bool = False,
        pattern: str = _WORD,
    ) -> None:
        self.tokens = tuple(tokens)
        self.level = level
        self.specials = dict(specials)
        self.lowercase = lowercase
        self.pattern = pattern
        self._number = {token: number for number, token in enumerate(self.tokens)}
        self._pattern = re.compile(pattern)
        self._special_numbers = {self._number[token] for token in self.specials.values()}
        self.pad, self.unk, self.bos, self.eos = (
            self._number[specials[role]] if role in specials else None for role in _ROLES
        )

    def __len__(self) -> int:
        return len(self.tokens)

    def __contains__(self, token: object) -> bool:
        return token in self._number

    def __getitem__(self, token: str) -> int:
        if token not in self._number:
            raise ArgumentError(f"the vocabulary has no token {token!r}", at=here())
        return self._number[token]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Vocabulary) and self._state() == other._state()

    def __hash__(self) -> int:
        return hash((self.tokens, self.level))

    def __repr__(self) -> str:
        return f"Vocabulary({len(self)} {self.level}, specials={list(self.specials.values())})"

    def split(self, text: str) -> list[str]:
        """The tokens of a text, known or not.

        >>> word_vocabulary(["a"]).split("Don't stop.")
        ['Don', "'", 't', 'stop', '.']
        """
        text = _text("Vocabulary.split", text)
        return _split(text, self.level, self._pattern, self.lowercase)

    def encode(self, text: str, *, bos: bool = False, eos: bool = False) -> Array:
        """The numbers of a text's tokens, int32 (L,); unknown ones become ``unk``.

        ``bos``, ``eos``: with the special token before or after. Raises ArgumentError for an
        unknown token where the vocabulary has no ``unk``, and for what is no str.

        >>> character_vocabulary(["abc"]).encode("cab", eos=True)
        Array([6, 4, 5, 3], dtype=int32)
        """
        return from_numpy(self._encoded("Vocabulary.encode", text, bos, eos))

    def _encoded(self, what: str, text: str, bos: bool, eos: bool) -> np.ndarray:
        parts = _split(_text(what, text), self.level, self._pattern, self.lowercase)
        numbers = [self._number.get(part, self.unk) for part in parts]
        if None in numbers:
            unknown = parts[numbers.index(None)]
            raise ArgumentError(
                f"{what}: {unknown!r} is not in the vocabulary, which has no token for unknown "
                "ones",
                at=here(),
            )
        before = [self._special(what, "bos")] if bos else []
        after = [self._special(what, "eos")] if eos else []
        return np.array([*before, *numbers, *after], np.int32)

    def _special(self, what: str, role: str) -> int:
        number = getattr(self, role)
        if number is None:
            raise ArgumentError(f"{what}: the vocabulary has no {role} token", at=here())
        return int(number)

    def encode_batch(
        self,
        texts: Iterable[str],
        length: int | None = None,
        *,
        bos: bool = False,
        eos: bool = False,
    ) -> Encoded:
        """Texts as (tokens (N, L), lengths (N,), mask (N, L)), padded with ``pad`` at the end.

        ``length``: L, to which longer texts are cut; by default that of the longest. Raises as
        ``encode``, and ArgumentError without a ``pad`` token where one is needed.

        >>> character_vocabulary(["abc"]).encode_batch(["a", "abc"]).tokens
        Array([[4, 0, 0], [4, 5, 6]], dtype=int32)
        """
        what = "Vocabulary.encode_batch"
        if isinstance(texts, str):
            raise ArgumentError(f"{what}: a list of texts is needed, not one", at=here())
        rows = [self._encoded(what, text, bos, eos) for text in texts]
        longest = max(map(len, rows), default=0)
        size = longest if length is None else whole(what, "length", length, 0)
        rows = [row[:size] for row in rows]
        full = all(len(row) == size for row in rows)
        tokens = np.full((len(rows), size), 0 if full else self._special(what, "pad"), np.int32)
        lengths = np.array([len(row) for row in rows], np.int32)
        for number, row in enumerate(rows):
            tokens[number, : len(row)] = row
        mask = np.arange(size) < lengths[:, None]
        return Encoded(from_numpy(tokens), from_numpy(lengths), from_numpy(mask))

    def decode(self, tokens: Any, *, skip_special: bool = True, errors: str = "replace") -> str:
        """The text of numbers (L,): words with a blank between them, characters and bytes without.

        ``skip_special``: leave out special tokens, except ``unk``, and what comes after the first
        ``eos``. ``errors``: for bytes, as in ``decode_bytes``. Raises ShapeError, DTypeError,
        OutOfBoundsError for a number that is no token's.

        >>> vocabulary = character_vocabulary(["abc"])
        >>> vocabulary.decode(vocabulary.encode("cab!", bos=True, eos=True))
        'cab<unk>'
        """
        what = "Vocabulary.decode"
        numbers = _numbers(what, tokens, len(self)).tolist()
        if skip_special:
            if self.eos is not None and self.eos in numbers:
                numbers = numbers[: numbers.index(self.eos)]
            hidden = self._special_numbers - {self.unk}
            numbers = [number for number in numbers if number not in hidden]
        parts = [self.tokens[number] for number in numbers]
        if self.level == "words":
            return " ".join(parts)
        if self.level == "characters":
            return "".join(parts)
        raw = b"".join(
            _utf8(part) if number in self._special_numbers else part.encode("latin-1")
            for number, part in zip(numbers, parts, strict=True)
        )
        return _from_utf8(what, raw, errors)

    def decode_batch(
        self, tokens: Any, lengths: Any = None, *, skip_special: bool = True
    ) -> list[str]:
        """The texts of (N, L) numbers, of the first ``lengths`` (N,) of each row if given.

        >>> vocabulary = character_vocabulary(["abc"])
        >>> vocabulary.decode_batch(vocabulary.encode_batch(["a", "abc"]).tokens)
        ['a', 'abc']
        """
        what = "Vocabulary.decode_batch"
        rows = held(what, tokens)
        if rows.ndim != 2:
            raise ShapeError(f"{what}: two axes, not shape {rows.shape}", at=here())
        sizes = np.full(len(rows), rows.shape[1]) if lengths is None else held(what, lengths)
        if sizes.shape != (len(rows),):
            raise ShapeError(
                f"{what}: lengths of shape {sizes.shape} for {len(rows)} rows", at=here()
            )
        return [
            self.decode(row[:size], skip_special=skip_special)
            for row, size in zip(rows, sizes.tolist(), strict=True)
        ]

    def _state(self) -> dict[str, Any]:
        return {
            "format": "tracejit vocabulary 1",
            "level": self.level,
            "lowercase": self.lowercase,
            "pattern": self.pattern,
            "specials": self.specials,
            "tokens": list(self.tokens),
        }

    def save(self, path: Any) -> None:
        """Write it as JSON to a path or a binary file object."""
        text = json.dumps(self._state(), indent=1, ensure_ascii=True)
        with writing(path, "Vocabulary.save") as file:
            file.write(text.encode())

    @staticmethod
    def load(path: Any) -> Vocabulary:
        """The vocabulary of a file that ``save`` wrote.

        Raises MissingFileError, FileError for another file. ``io.load_vocabulary`` is the same.

        >>> import io
        >>> file, vocabulary = io.BytesIO(), word_vocabulary(["a b"])
        >>> vocabulary.save(file)
        >>> _ = file.seek(0)
        >>> load_vocabulary(file) == vocabulary
        True
        """
        return load_vocabulary(path)


def load_vocabulary(path: Any) -> Vocabulary:
    """The vocabulary that ``Vocabulary.save`` wrote to a path or a binary file object.

    Raises MissingFileError, FileError for a file that is truncated or another's.
    """
    what = "io.load_vocabulary"
    with reading(path, what) as file:
        raw = file.read()
    try:
        state = json.loads(raw)
    except ValueError as error:
        raise unreadable(what, path, error) from None
    if not isinstance(state, dict) or state.get("format") != "tracejit vocabulary 1":
        raise FileError(f"{what}: {title(path)} is not a vocabulary", at=here())
    try:
        tokens, level = state["tokens"], state["level"]
        if level not in _LEVELS or not all(isinstance(token, str) for token in tokens):
            raise TypeError("level or tokens")
        return Vocabulary(
            tokens,
            level,
            state["specials"],
            lowercase=state["lowercase"],
            pattern=state["pattern"],
        )
    except (KeyError, TypeError, AttributeError, re.error) as error:
        raise unreadable(what, path, f"a wrong or missing entry: {error}") from None


def _split(text: str, level: str, pattern: re.Pattern[str], lowercase: bool) -> list[str]:
    text = text.lower() if lowercase else text
    if level == "words":
        return [found.group() for found in pattern.finditer(text)]
    return list(_utf8(text).decode("latin-1") if level == "bytes" else text)


def byte_vocabulary(specials: Sequence[str] = ("<pad>", "<unk>", "<bos>", "<eos>")) -> Vocabulary:
    """The vocabulary of the 256 bytes of UTF-8, after the special tokens: any text, no unknowns.

    ``specials``: tokens with the roles pad, unk, bos and eos, in this order. Raises ArgumentError.

    >>> vocabulary = byte_vocabulary()
    >>> len(vocabulary), vocabulary.decode(vocabulary.encode("día"))
    (260, 'día')
    """
    roles = _roles("io.byte_vocabulary", specials)
    tokens = [*roles.values(), *(chr(number) for number in range(256))]
    return Vocabulary(tokens, "bytes", roles)


def character_vocabulary(
    texts: Iterable[str],
    max_size: int | None = None,
    min_count: int = 1,
    specials: Sequence[str] = ("<pad>", "<unk>", "<bos>", "<eos>"),
    *,
    lowercase: bool = False,
) -> Vocabulary:
    """The vocabulary of the characters (code points) of texts, sorted, after the special tokens.

    ``max_size``: of all tokens, special ones too: the most frequent characters are kept.
    ``min_count``: how often a character occurs at least. ``specials``: tokens with the roles pad,
    unk, bos and eos, in this order, or a dict of these; () for none. Raises ArgumentError.

    >>> character_vocabulary(["hello"], specials=()).tokens
    ('e', 'h', 'l', 'o')
    """
    what = "io.character_vocabulary"
    roles, kept = _fitted(
        what, texts, "characters", _WORD, lowercase, (max_size, min_count), specials
    )
    return Vocabulary([*roles.values(), *sorted(kept)], "characters", roles, lowercase=lowercase)


def word_vocabulary(
    texts: Iterable[str],
    max_size: int | None = None,
    min_count: int = 1,
    specials: Sequence[str] = ("<pad>", "<unk>", "<bos>", "<eos>"),
    *,
    lowercase: bool = False,
    pattern: str = _WORD,
) -> Vocabulary:
    r"""The vocabulary of the words of texts, the most frequent first, after the special tokens.

    ``pattern``: the regular expression that a token matches, by default a word or a sign of
    punctuation; ``r"\S+"`` splits at blanks. Words that occur equally often are in the order of
    the alphabet. The other arguments are those of ``character_vocabulary``. Raises ArgumentError.

    >>> word_vocabulary(["to be or not to be"], max_size=6).tokens
    ('<pad>', '<unk>', '<bos>', '<eos>', 'be', 'to')
    """
    what = "io.word_vocabulary"
    try:
        re.compile(pattern)
    except (re.error, TypeError) as error:
        raise ArgumentError(f"{what}: pattern {pattern!r}: {error}", at=here()) from None
    limits = (max_size, min_count)
    roles, kept = _fitted(what, texts, "words", pattern, lowercase, limits, specials)
    tokens = [*roles.values(), *kept]
    return Vocabulary(tokens, "words", roles, lowercase=lowercase, pattern=pattern)


def _roles(what: str, specials: Any) -> dict[str, str]:
    found = (
        dict(specials) if isinstance(specials, dict) else dict(zip(_ROLES, specials, strict=False))
    )
    wrong = set(found) - set(_ROLES)
    if wrong or len(found) != len(specials) or isinstance(specials, str):
        raise ArgumentError(
            f"{what}: specials are up to four tokens, for {', '.join(_ROLES)}, not {specials!r}",
            at=here(),
        )
    if len(set(found.values())) != len(found) or not all(
        isinstance(token, str) and token for token in found.values()
    ):
        raise ArgumentError(f"{what}: special tokens are different texts: {specials!r}", at=here())
    return {role: found[role] for role in _ROLES if role in found}


def _fitted(
    what: str,
    texts: Iterable[str],
    level: str,
    pattern: str,
    lowercase: bool,
    limits: tuple[int | None, int],
    specials: Any,
) -> tuple[dict[str, str], list[str]]:
    """Special tokens by role, and the tokens of the texts, most frequent first."""
    if isinstance(texts, str):
        raise ArgumentError(f"{what}: a list of texts is needed, not one", at=here(), hint="[text]")
    max_size, min_count = limits
    least = whole(what, "min_count", min_count, 1)
    roles = _roles(what, specials)
    compiled = re.compile(pattern)
    counts: Counter[str] = Counter()
    for text in texts:
        counts.update(_split(_text(what, text), level, compiled, lowercase))
    for token in roles.values():
        counts.pop(token, None)
    order = sorted(counts, key=lambda token: (-counts[token], token))
    kept = [token for token in order if counts[token] >= least]
    if max_size is not None:
        kept = kept[: whole(what, "max_size", max_size, len(roles)) - len(roles)]
    return roles, kept
