"""Frames of one film as JPEG files, in a process of its own: what a damaged or hostile film does, it does there.

    python -m drillcore.datasets.adapters.film_frames FILM FOLDER NAME EVERY MAX_PIXELS

prints how many it has written, or ends with one line on standard error.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

_FPS = 25.0  # where a film does not say
_QUALITY = 95
# What FFmpeg may take a file for, and open beside it: no playlist leads it to other files or hosts.
_OPTIONS = "protocol_whitelist;file|format_whitelist;mov,matroska,avi,mpeg,mpegts,asf,ogg"


def write_frames(film: Path, folder: Path, name: str, every: float, max_pixels: int) -> int:
    """Write a frame every so many seconds, from the first on, as `<name>-<milliseconds>.jpg`; return how many.

    Args:
        film: a file that FFmpeg reads.
        folder: to write to.
        name: what the frames' names begin with.
        every: seconds.
        max_pixels: of a frame.

    Raises:
        ValueError: no film that can be read, or one whose frames are too large.
    """
    os.environ["OPENCV_FFMPEG_CAPTURE_OPTIONS"] = _OPTIONS
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    os.environ.setdefault("OPENCV_LOG_LEVEL", "OFF")
    import cv2

    read = cv2.VideoCapture(str(film), cv2.CAP_FFMPEG)
    if not read.isOpened():
        raise ValueError("no film that can be read")
    width, height = (int(read.get(one)) for one in (cv2.CAP_PROP_FRAME_WIDTH, cv2.CAP_PROP_FRAME_HEIGHT))
    if width * height > max_pixels:
        raise ValueError(f"frames of {width} x {height} pixels; at most {max_pixels} are taken")
    fps = read.get(cv2.CAP_PROP_FPS)
    fps = fps if 0 < fps < 1000 else _FPS
    count = number = 0
    while read.grab():
        seconds = max(read.get(cv2.CAP_PROP_POS_MSEC) / 1000, number / fps)  # some containers have no times
        number += 1
        if seconds + 1e-6 < count * every:
            continue
        found, frame = read.retrieve()
        if not found:
            break
        place = folder / f"{name}-{round(1000 * seconds):08d}.jpg"
        done, data = cv2.imencode(".jpg", frame, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
        if not done:
            raise ValueError("frames that cannot be kept as JPEG")
        place.write_bytes(data.tobytes())
        count = max(count + 1, int(seconds / every) + 1)
    if not number:
        raise ValueError("no frame that can be read")
    return len(list(folder.glob(f"{name}-*.jpg")))


if __name__ == "__main__":
    try:
        print(write_frames(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], float(sys.argv[4]), int(sys.argv[5])))  # noqa: T201 - its answer
    except (ValueError, OSError) as error:
        print(error, file=sys.stderr)  # noqa: T201 - its answer
        sys.exit(1)
