"""Data in and out: images, video, sound, text, tables, trees of arrays; batches of them.

>>> import os, tempfile
>>> from tracejit import io
>>> path = os.path.join(tempfile.mkdtemp(), "params.safetensors")
>>> io.save(path, {"w": jnp.ones((2, 2)), "b": jnp.zeros(2)})
>>> io.load(path)["w"].shape
(2, 2)

Images need Pillow, video imageio with an ffmpeg (``pip install tracejit[io]``); both are imported
when they are first used. What comes in are Arrays; axes are (height, width, channels), (frames,
height, width, channels) and (samples, channels). Files are given as paths or binary file objects
(video: paths); what is written by path appears when it is complete.
"""

from __future__ import annotations

from tracejit import errors as _errors
from tracejit.io.audio import Audio, read_audio, write_audio
from tracejit.io.batching import (
    Padded,
    batches,
    collate,
    pad_sequences,
    random_windows,
    stream_batches,
    windows,
)
from tracejit.io.images import (
    Animation,
    image_grid,
    read_animation,
    read_image,
    read_images,
    to_chw,
    to_float,
    to_hwc,
    to_uint8,
    write_animation,
    write_image,
)
from tracejit.io.tables import read_csv, write_csv
from tracejit.io.text import (
    Encoded,
    Vocabulary,
    byte_vocabulary,
    character_vocabulary,
    decode_bytes,
    encode_bytes,
    load_vocabulary,
    word_vocabulary,
)
from tracejit.io.trees import Contents, describe, load, save
from tracejit.io.video import VideoInfo, iterate_video, read_video, video_info, write_video

# fmt: off
__all__ = [
    "Animation", "Audio", "Contents", "Encoded", "Padded", "VideoInfo", "Vocabulary", "batches",
    "byte_vocabulary", "character_vocabulary", "collate", "decode_bytes", "describe",
    "encode_bytes", "image_grid", "iterate_video", "load", "load_vocabulary", "pad_sequences",
    "random_windows", "read_animation", "read_audio", "read_csv", "read_image", "read_images",
    "read_video", "save", "stream_batches", "to_chw", "to_float", "to_hwc", "to_uint8",
    "video_info", "windows", "word_vocabulary", "write_animation", "write_audio", "write_csv",
    "write_image", "write_video",
]
# fmt: on

_errors.user_functions(globals())
