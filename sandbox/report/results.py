"""What an experiment leaves behind: results/NAME/ holds figures, claims.json, summary.csv and about.json.

about.json has title, question, prediction, found, data, and captions by figure. A claim's verdict in claims.json is
for people; readers make it anew from the numbers.
"""

import json
import os
import shutil
import tempfile
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sandbox.report.claims import Claim, as_dict, from_dict
from sandbox.report.plots import save
from sandbox.report.tables import Row, write_csv

if TYPE_CHECKING:
    from matplotlib.figure import Figure

MEDIA = (".gif", ".html")  # files that come as they are: a film among the figures, a page of its own
TEXTS = ("title", "question", "prediction", "found", "data")


@dataclass(frozen=True)
class Result:
    """One experiment as it lies on disk."""

    name: str
    title: str
    question: str = ""
    prediction: str = ""
    found: str = ""
    data: str = ""  # what folder it takes, of one that takes a user's
    figures: tuple[tuple[Path, str], ...] = ()  # a file and its caption
    pages: tuple[tuple[Path, str], ...] = ()  # interactive ones, likewise
    claims: tuple[Claim, ...] = ()
    summary: tuple[dict[str, str], ...] = field(default=(), repr=False)


def write(
    folder: str | Path,
    *,
    figures: Mapping[str, "tuple[Figure | bytes, str]"] | None = None,
    claims: Iterable[Claim] = (),
    summary: Sequence[Row] = (),
    about: Mapping[str, Any] | None = None,
) -> Path:
    """Write results/NAME: figures {name: (figure, caption)}, claims, summary rows, about {title, …}.

    The figure named "figure" is the main one, figure.png and .svg; another NAME gives figure-NAME. A film NAME.gif and
    an interactive page NAME.html come as bytes, and are files of that name. Everything
    is written beside its place first and moved there whole, the claims last; figures of an earlier run
    disappear, other files stay.
    """
    folder = Path(folder)
    about = dict(about or {})
    unknown = set(about) - {*TEXTS, "captions"}
    if unknown:
        raise ValueError(f"about has {', '.join(sorted(unknown))}: its keys are {', '.join(TEXTS)}")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = Path(tempfile.mkdtemp(prefix=".partial-", dir=folder))
        try:
            _write_into(partial, figures or {}, list(claims), summary, about)
            _move(partial, folder)
        finally:
            shutil.rmtree(partial, ignore_errors=True)
    except OSError as error:
        raise ValueError(
            f"the results folder {folder} cannot be written ({error.strerror}): name another one"
        ) from error
    return folder


def read(folder: str | Path) -> Result:
    """One experiment's folder; what is missing is empty, what is malformed a ValueError with its name."""
    folder = Path(folder)
    about = _json(folder / "about.json", dict)
    captions = about.get("captions") or {}
    stems = sorted({path.stem for path in folder.glob("figure*") if path.suffix in (".svg", ".png")})
    stems.sort(key=lambda stem: list(captions).index(stem) if stem in captions else len(captions))
    figures = [(_smallest(folder, stem), str(captions.get(stem, ""))) for stem in stems]
    films, pages = (
        [(path, str(captions.get(path.name, ""))) for path in sorted(folder.glob(f"*{kind}"))] for kind in MEDIA
    )
    try:
        claims = tuple(from_dict(record) for record in _json(folder / "claims.json", list))
    except (TypeError, ValueError, AttributeError) as error:
        raise ValueError(
            f"{folder / 'claims.json'} is not a list of claims ({error}): run the experiment again"
        ) from None
    texts = {name: str(about[name]) for name in TEXTS if name in about}
    title = texts.pop("title", folder.name.replace("_", " ").replace("-", " ").capitalize())
    return Result(
        folder.name,
        title,
        **texts,
        figures=(*figures, *films),
        pages=tuple(pages),
        claims=claims,
        summary=_rows(folder / "summary.csv"),
    )


def read_all(results: str | Path) -> list[Result]:
    """Every experiment under a folder, by name: the sub-folders that hold claims or an about.json."""
    results = Path(results)
    if not results.is_dir():
        raise ValueError(f"{results} is not a folder of results: run the experiments first, or name the folder")
    found = [
        path for path in sorted(results.iterdir()) if (path / "claims.json").exists() or (path / "about.json").exists()
    ]
    return [read(path) for path in found]


def _write_into(
    folder: Path,
    figures: Mapping[str, Any],
    claims: list[Claim],
    summary: Sequence[Row],
    about: dict[str, Any],
) -> None:
    captions = dict(about.pop("captions", {}))
    for name, (figure, caption) in figures.items():
        if isinstance(figure, bytes):
            (folder / name).write_bytes(figure)
            captions[name] = caption
            continue
        stem = "figure" if name == "figure" else f"figure-{name}"
        save(figure, folder, stem)
        captions[stem] = caption
    _dump(folder / "about.json", {**about, "captions": captions})
    write_csv(folder / "summary.csv", summary)
    _dump(folder / "claims.json", [as_dict(claim) for claim in claims])


def _move(partial: Path, folder: Path) -> None:
    """Each file into its place, claims.json last: it says that the rest is whole. What was drawn before goes."""
    before = _json(folder / "about.json", dict).get("captions") or {}
    new = sorted(partial.iterdir(), key=lambda path: path.name == "claims.json")
    for path in new:
        os.replace(path, folder / path.name)
    kept = {path.name for path in new}
    for path in folder.iterdir():
        drawn = path.suffix in (".png", ".svg") and path.name.startswith("figure")
        if (drawn or (path.suffix in MEDIA and path.name in before)) and path.name not in kept:
            path.unlink()


def _smallest(folder: Path, stem: str) -> Path:
    """The drawing where it is small, else the picture: thousands of points make a heavy SVG."""
    files = [path for path in (folder / f"{stem}.svg", folder / f"{stem}.png") if path.exists()]
    return min(files, key=lambda path: path.stat().st_size * (1 if path.suffix == ".png" else 0.25))


def _json(path: Path, kind: type) -> Any:
    if not path.exists():
        return kind()
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{path} is not JSON ({error}): run the experiment again") from None
    if not isinstance(value, kind):
        raise ValueError(
            f"{path} holds a {type(value).__name__}, a {kind.__name__} was expected: run the experiment again"
        )
    return value


def _dump(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n", encoding="utf-8")


def _rows(path: Path) -> tuple[dict[str, str], ...]:
    import csv

    if not path.exists():
        return ()
    with path.open(newline="", encoding="utf-8") as file:
        return tuple(csv.DictReader(file))
