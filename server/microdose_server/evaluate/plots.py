"""Contact sheets: the same pictures side by side, at their own pixels, with a line of text under each."""

from collections.abc import Sequence
from typing import NamedTuple

from PIL import Image, ImageDraw, ImageFont

from microdose_server.training.data import Pixels

FONT_SIZE = 15
LINE = 22  # height of a line of text, in pixels
GAP = 4  # between cells, in pixels
PAPER = (255, 255, 255)
INK = (20, 20, 20)


class Cell(NamedTuple):
    """A picture uint8 [H, W, 3] and what to write under it."""

    pixels: Pixels
    caption: str


def contact_sheet(titles: Sequence[str], rows: Sequence[Sequence[Cell]]) -> Image.Image:
    """One row per picture, one column per title; every row holds as many cells as there are titles."""
    if not rows or any(len(row) != len(titles) for row in rows):
        raise ValueError(f"every row needs {len(titles)} cells, one per title")
    width = max(cell.pixels.shape[1] for row in rows for cell in row) + GAP
    heights = [max(cell.pixels.shape[0] for cell in row) + LINE + GAP for row in rows]
    sheet = Image.new("RGB", (width * len(titles) - GAP, LINE + sum(heights) - GAP), PAPER)
    draw = ImageDraw.Draw(sheet)
    font = ImageFont.load_default(FONT_SIZE)
    for column, title in enumerate(titles):
        draw.text((column * width + GAP, 1), title, INK, font)
    top = LINE
    for row, height in zip(rows, heights, strict=True):
        for column, cell in enumerate(row):
            sheet.paste(Image.fromarray(cell.pixels), (column * width, top))
            below = top + cell.pixels.shape[0] + 1
            draw.text((column * width + GAP, below), cell.caption, INK, font)
        top += height
    return sheet


def centre(pixels: Pixels, width: int, height: int) -> Pixels:
    """The middle of a picture, at most `width` by `height` pixels of it."""
    top = max(0, pixels.shape[0] - height) // 2
    left = max(0, pixels.shape[1] - width) // 2
    return pixels[top : top + height, left : left + width]
