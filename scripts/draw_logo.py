"""Draw the book's logo, its favicon and the picture for link previews, into ``book/static``.

One walk reaches its bound, before the crowd of walks that did so, too: one mind, ten thousand.
``--check`` writes nothing and names the vector files that are not what this script draws.
"""

import argparse
import sys
from pathlib import Path

import numpy as np

STATIC = Path(__file__).resolve().parent.parent / "book" / "static"
TITLE = "One Mind to Ten Thousand"
SUBTITLE = "Composing posteriors of decision models, and grading every one"
BLUE, ORANGE = "#0072B2", "#E69F00"  # Okabe & Ito: safe for color-blind readers
LIGHT_BLUE = "#56B4E9"
NIGHT = "#14181F"


def walks(count: int, seed: int, *, steps: int, drift: float = 1.1) -> list[np.ndarray]:
    """Evidence (time, height) of ``count`` walks that end at the upper bound, at height 1."""
    rng, found = np.random.default_rng(seed), []
    dt = 1.0 / steps
    while len(found) < count:
        moves = drift * dt + 0.55 * np.sqrt(dt) * rng.standard_normal(steps)
        height = np.concatenate([[0.35], 0.35 + np.cumsum(moves)])
        end = int(np.argmax(height >= 1))
        if height[end] >= 1 and height[: end + 1].min() > 0.05 and end > steps // 3:
            path = np.column_stack([np.linspace(0, 1, steps + 1), height])[: end + 1]
            share = (1 - path[-2, 1]) / (path[-1, 1] - path[-2, 1])
            path[-1] = path[-2] + share * (path[-1] - path[-2])  # stop on the bound
            found.append(path)
    return found


def stretched(path: np.ndarray, end: float, *, keep: int = 1) -> np.ndarray:
    """Every ``keep``-th point of the walk and its last, with time scaled to be over at ``end``."""
    points = np.vstack([path[:-1:keep], path[-1:]])
    return points * [end / path[-1, 0], 1]


def the_one(keep: int = 1) -> np.ndarray:
    """The walk in front, the same in every drawing."""
    return stretched(walks(1, 11, steps=90)[0], 0.78, keep=keep)


def polyline(path: np.ndarray, color: str, width: float, opacity: float = 1.0) -> str:
    """SVG of a walk in a square of 64 units, bounds at 12 and 54."""
    points = " ".join(f"{4 + 56 * x:.1f},{54 - 42 * y:.1f}" for x, y in path)
    return (
        f'<polyline points="{points}" fill="none" stroke="{color}" stroke-width="{width}" '
        f'stroke-opacity="{opacity}" stroke-linejoin="round" stroke-linecap="round"/>'
    )


def bound(y: float, color: str, width: float) -> str:
    return (
        f'<line x1="4" x2="60" y1="{y}" y2="{y}" stroke="{color}" stroke-width="{width}" '
        'stroke-linecap="round"/>'
    )


def svg(body: list[str]) -> str:
    head = '<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 64 64" width="64" height="64">'
    return "\n".join([head, f"<title>{TITLE}</title>", *body, "</svg>", ""])


def logo(ink: str, crowd: str) -> str:
    """The logo: bounds, a crowd of walks, and the one in front of them."""
    found = walks(8, 4, steps=40)
    ends = np.linspace(0.5, 1.0, len(found))
    behind = [
        polyline(stretched(path, end, keep=2), crowd, 1.2, 0.55)
        for path, end in zip(found, ends, strict=True)
    ]
    front = the_one(keep=6)
    dot = f'<circle cx="{4 + 56 * front[-1, 0]:.1f}" cy="12" r="4" fill="{ORANGE}"/>'
    bounds = [bound(12, ink, 2.5), bound(54, ink, 2.5)]
    return svg([*bounds, *behind, polyline(front, ORANGE, 3.2), dot])


def favicon() -> str:
    """The logo without the crowd, on a ground of its own: readable at 16 pixels on any tab."""
    ground = f'<rect width="64" height="64" rx="14" fill="{BLUE}"/>'
    lines = [bound(12, "#FFFFFF", 4), bound(54, "#FFFFFF", 4)]
    return svg([ground, *lines, polyline(the_one(keep=9), "#FFD27A", 6)])


def vectors() -> dict[str, str]:
    """Content of every vector file, by name."""
    return {
        "logo.svg": logo("#1A1A1A", BLUE),
        "logo-dark.svg": logo("#E8E8E8", LIGHT_BLUE),
        "favicon.svg": favicon(),
    }


def draw_preview(file: Path) -> None:
    """Draw the picture that messengers and networks show beside a link, 1200 x 630 pixels."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 6.3), dpi=100, facecolor=NIGHT)
    ax = figure.add_axes((0.0, 0.06, 1.0, 0.5))
    ax.set_axis_off()
    ax.set(xlim=(-0.02, 1.02), ylim=(-0.06, 1.1))
    for path in walks(160, 8, steps=160):
        ax.plot(*path.T, color=LIGHT_BLUE, lw=0.7, alpha=0.3)
    for height in (0, 1):
        ax.axhline(height, color="#E8E8E8", lw=2)
    path = the_one()
    ax.plot(*path.T, color=ORANGE, lw=3.5)
    ax.plot(*path[-1], "o", color=ORANGE, ms=13)
    figure.text(0.05, 0.8, TITLE, color="white", size=44, weight="bold")
    figure.text(0.05, 0.69, SUBTITLE, color="#C9D3DF", size=20.5)
    figure.savefig(file, facecolor=NIGHT)
    shrink(file)


def shrink(file: Path) -> None:
    """Keep the picture small: few colors are enough for lines on a dark ground."""
    from PIL import Image

    with Image.open(file) as image:
        palette = image.convert("RGB").quantize(128)
    palette.save(file, optimize=True)


def stale(folder: Path = STATIC) -> list[str]:
    """Names of the vector files that are missing or not what this script draws."""
    return sorted(
        name
        for name, content in vectors().items()
        if not (folder / name).exists() or (folder / name).read_text(encoding="utf-8") != content
    )


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="only name files that differ")
    if parser.parse_args().check:
        print("\n".join(stale()))
        return int(bool(stale()))
    for name, content in vectors().items():
        (STATIC / name).write_text(content, encoding="utf-8")
    draw_preview(STATIC / "preview.png")
    return 0


if __name__ == "__main__":
    sys.exit(main())
