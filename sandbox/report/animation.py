"""A figure that moves, as a GIF: what stands still is drawn once, what moves on top of it."""

import io
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.figure import Figure


def gif(
    figure: "Figure",
    moving: Sequence["Artist"],
    show: Callable[[int], None],
    steps: Iterable[int],
    *,
    milliseconds: int = 60,
    pause: int = 1500,
) -> bytes:
    """The file's bytes: show(step) moves the artists, one picture for each step, the last one shown `pause` longer.

    All pictures share the 255 commonest colours of the last, as they are, so that a shade stays what it means; pixels
    between two of them, at the edges of lines, take the nearest.
    Raises ValueError where there are no steps.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from PIL import Image

    steps = list(steps)
    if not steps:
        raise ValueError("there are no steps to show: a path needs one or more")
    canvas = FigureCanvasAgg(figure)
    for artist in moving:
        artist.set_animated(True)
    canvas.draw()
    still = canvas.copy_from_bbox(figure.bbox)

    def picture(step: int) -> Any:
        canvas.restore_region(still)
        show(step)
        for artist in moving:
            (artist.axes or figure).draw_artist(artist)
        return Image.fromarray(np.asarray(canvas.buffer_rgba())[..., :3].copy())

    palette = Image.new("P", (1, 1))
    palette.putpalette(_commonest(picture(steps[-1])))
    pictures = [picture(step).quantize(palette=palette, dither=Image.Dither.NONE) for step in steps]
    file = io.BytesIO()
    times = [milliseconds] * (len(steps) - 1) + [milliseconds + pause]
    pictures[0].save(file, "GIF", save_all=True, append_images=pictures[1:], duration=times, loop=0, optimize=False)
    return file.getvalue()


def _commonest(picture: Any) -> list[int]:
    """Red, green and blue of its 255 commonest colours."""
    counts = picture.getcolors(picture.width * picture.height)
    return [part for _, colour in sorted(counts, reverse=True)[:255] for part in colour]
