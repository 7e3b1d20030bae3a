"""The door to the Hugging Face hub: a standard dataset at one commit, or from a mirror without a network.

    <root>/AIEnergyScore/<name>/<revision>/data/train-00000-of-00001.parquet

Rules:
1. A revision is the 40 hexadecimal digits of a commit. A branch or a tag can be moved, so what was measured could not
   be told later: refused.
2. Texts stay as they are, pictures and recordings keep their original bytes; decoding them only checks them.
3. What the rows do not say is not claimed: they carry no collection, so there are no thirds, and no reference.
4. The SHA-256 of every file goes into dataset.json.
"""

from __future__ import annotations

import hashlib
import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from orchestrator.datasets.build import WARM_UP_POINTS, assemble
from orchestrator.datasets.canonical import unavailable
from orchestrator.datasets.standard import ORGANISATION, STANDARD_SETS, StandardSet
from protocol.errors import UsageError
from protocol.methodology.dataset import Dataset, draw
from protocol.methodology.scenario import OFFICIAL_POINTS
from protocol.methodology.tasks import Input
from protocol.samples import AudioInput, ImageInput, Point, QuestionInput, SampleInput, TextInput, TextPairInput

FILES = "data/*.parquet"
_COMMIT = re.compile(r"[0-9a-f]{40}", re.ASCII)
_BATCH = 64  # rows that are held as Python values at a time, apart from the points themselves


def standard_set(name: str) -> StandardSet:
    """Return the row of a set by its name on the hub or ours; raises UsageError HUB_UNKNOWN."""
    short = name.removeprefix(f"{ORGANISATION}/")
    for row in STANDARD_SETS.values():
        if short in {row.repository, row.name}:
            return row
    raise UsageError(
        code="HUB_UNKNOWN",
        observed=f"no standard dataset is called {name!r}",
        expected=f"one of {', '.join(row.repository for row in STANDARD_SETS.values())}",
        hint="a dataset of your own is made with: jouleseal dataset build --from-jsonl",
    )


def checked_revision(revision: str, row: StandardSet) -> str:
    """Return a revision that is a commit; raises UsageError HUB_REVISION for a branch, a tag or a short digest."""
    if not _COMMIT.fullmatch(revision):
        known = f"; {row.revision} is one" if row.revision else ""
        raise UsageError(
            code="HUB_REVISION",
            observed=f"--revision {revision}",
            expected="the 40 lower-case hexadecimal digits of a commit",
            hint=f"a branch or a tag can be moved after the measurement; the hub's page lists the commits{known}",
        )
    return revision


def place_in(root: Path, row: StandardSet, revision: str) -> Path:
    """Return where a mirror holds a set at a revision."""
    return root / ORGANISATION / row.repository / revision


def fetch_standard(name: str, revision: str, root: Path, *, offline: bool = False) -> Dataset:
    """Return a standard dataset at a commit, from `root`, where it is brought first unless it is there or `offline`.

    Raises UsageError (HUB_UNKNOWN, HUB_REVISION, NOT_INSTALLED) and DatasetUnavailable (HUB_MIRROR, HUB_UNAVAILABLE,
    HUB_FILE, HUB_COLUMNS, HUB_ROW).
    """
    row = standard_set(name)
    place = place_in(root, row, checked_revision(revision, row))
    if not any(place.glob(FILES)):
        if offline:
            raise unavailable(
                "HUB_MIRROR",
                f"no {FILES} in {place}",
                f"the layout {ORGANISATION}/{row.repository}/{revision}/data/train-00000-of-00001.parquet",
                "copy the set's files there from a machine that reaches the hub",
            )
        _download(row, revision, place)
    return read_standard(row, revision, place)


def read_standard(row: StandardSet, revision: str, place: Path) -> Dataset:
    """Return the dataset in a mirror's folder; errors as of `fetch_standard`."""
    files = sorted(place.glob(FILES))
    if not files:
        raise unavailable("HUB_FILE", f"no {FILES} in {place}", "the files of a commit", "fetch it again")
    digests = [
        {"path": str(file.relative_to(place)), "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
        for file in files
    ]
    read = _INPUTS[row.kind]
    rows = (values for file in files for values in _rows(file, row))
    every = [
        Point(
            index=0, point_id=f"row-{number:06d}", source=row.hub_id, input=_input(read, values, number), reference=None
        )
        for number, values in enumerate(rows)
    ]
    by_id = {point.point_id: point for point in every}
    seed = f"{row.name}/{revision}"
    drawn = draw(seed, by_id, OFFICIAL_POINTS) if len(every) > OFFICIAL_POINTS else list(by_id)
    points = [by_id[point_id] for point_id in drawn]
    rest = [by_id[point_id] for point_id in draw(f"{seed}/warm-up", by_id.keys() - set(drawn), WARM_UP_POINTS)]
    note = (
        f"The hub's {row.hub_id} at {revision}, mixed by its authors from {', '.join(row.mixed)}; its rows say neither "
        "which of them they are from nor what the right answer is."
    )
    if not rest:
        rest = points[:WARM_UP_POINTS]
        note += " It has no row to spare: the first points are asked before the first window too."
    return assemble(
        row.name,
        row.task,
        (_numbered(points), _numbered(rest), ()),
        licence=row.licence,
        note=note,
        attribution={row.hub_id: f"AI Energy Score, from {', '.join(row.mixed)}"},
        origin={"kind": "hub", "repository": row.hub_id, "revision": revision, "files": digests},
    )


def _numbered(points: list[Point]) -> tuple[Point, ...]:
    return tuple(
        Point(index=index, point_id=one.point_id, source=one.source, input=one.input, reference=one.reference)
        for index, one in enumerate(points)
    )


def _download(row: StandardSet, revision: str, place: Path) -> None:
    try:
        from huggingface_hub import snapshot_download  # noqa: PLC0415 - only where a set is fetched, an extra
        from huggingface_hub.errors import HfHubHTTPError, LocalEntryNotFoundError  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    try:
        snapshot_download(
            repo_id=row.hub_id,
            repo_type="dataset",
            revision=revision,
            allow_patterns=[FILES, "README.md"],
            local_dir=place,
        )
    except (HfHubHTTPError, LocalEntryNotFoundError, OSError, ValueError) as error:
        raise unavailable(
            "HUB_UNAVAILABLE",
            f"{row.hub_id} at {revision}: {type(error).__name__}: {str(error).splitlines()[0][:200]}",
            "the files of that commit",
            "check the network and the commit, or copy the files and name their folder: --mirror",
        ) from error


def _rows(file: Path, row: StandardSet) -> Iterator[list[Any]]:
    """Yield the values of the set's columns, row by row."""
    try:
        import pyarrow as pa  # noqa: PLC0415 - only where a set is read, an extra
        import pyarrow.parquet as pq  # noqa: PLC0415 - likewise
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    try:
        with pq.ParquetFile(file) as table:
            names = table.schema_arrow.names
            missing = [column for column in row.columns if column not in names]
            if missing:
                observed = f"{row.hub_id}: the columns {', '.join(names)}"
                raise unavailable("HUB_COLUMNS", observed, f"with {', '.join(row.columns)}", "look at the set's page")
            for batch in table.iter_batches(batch_size=_BATCH, columns=list(row.columns)):
                columns = [batch.column(column).to_pylist() for column in row.columns]
                yield from (list(values) for values in zip(*columns, strict=True))
    except (pa.ArrowException, OSError) as error:
        observed = f"{row.hub_id}: {file.name}: {str(error).splitlines()[0][:200]}"
        raise unavailable("HUB_FILE", observed, "a whole parquet file", "delete it and fetch it again") from error


def _input(read: Callable[[list[Any]], SampleInput], values: list[Any], number: int) -> SampleInput:
    try:
        return read(values)
    except (ValueError, TypeError, KeyError) as error:
        hint = "the row cannot be measured as it is published; choose another commit"
        raise unavailable("HUB_ROW", f"row {number}: {error}", "an input of the task", hint) from error


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"a {type(value).__name__} where a text belongs")  # noqa: TRY004 - told as a row above
    return value


def _content(value: object) -> bytes:
    """Return the bytes of a value as the hub stores media: {bytes, path}."""
    content = value.get("bytes") if isinstance(value, dict) else value
    if not isinstance(content, bytes) or not content:
        raise ValueError("no bytes: a path alone is no picture and no recording")
    return content


def _image(values: list[Any]) -> SampleInput:
    from PIL import Image, UnidentifiedImageError  # noqa: PLC0415 - only to check pictures

    found = ImageInput(content=_content(values[0]))
    if found.encoding is None:
        raise ValueError("a picture that is neither JPEG nor PNG")
    try:
        with Image.open(io.BytesIO(found.content)) as picture:
            picture.load()
    except (UnidentifiedImageError, OSError, SyntaxError, Image.DecompressionBombError) as error:
        raise ValueError(f"a picture that cannot be decoded: {error}") from error
    return found


def _audio(values: list[Any]) -> SampleInput:
    try:
        import soundfile  # noqa: PLC0415 - only to check recordings, an extra
    except ModuleNotFoundError as error:
        raise _not_installed(error) from error
    found = AudioInput(content=_content(values[0]))
    if found.encoding is None:
        raise ValueError("a recording that is neither FLAC nor WAV")
    try:
        frames = len(soundfile.read(io.BytesIO(found.content))[0])
    except (soundfile.LibsndfileError, RuntimeError) as error:
        raise ValueError(f"a recording that cannot be decoded: {error}") from error
    if not frames:
        raise ValueError("a recording without a sample")
    return found


_INPUTS: dict[Input, Callable[[list[Any]], SampleInput]] = {
    Input.TEXT: lambda values: TextInput(text=_text(values[0])),
    Input.QUESTION: lambda values: QuestionInput(question=_text(values[0]), context=_text(values[1])),
    Input.TEXT_PAIR: lambda values: TextPairInput(first=_text(values[0]), second=_text(values[1])),
    Input.IMAGE: _image,
    Input.AUDIO: _audio,
}


def _not_installed(error: ModuleNotFoundError) -> UsageError:
    return UsageError(
        code="NOT_INSTALLED",
        observed=f"the Python package that provides {error.name!r} is not installed",
        expected="the packages of the extra `hub`",
        hint="pip install 'jouleseal[hub]'",
    )
