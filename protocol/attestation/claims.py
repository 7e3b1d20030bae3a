"""The nouns inside our predicates: who ran, what was submitted, which cells were planned, what one run gave.

Each is a frozen value that reads itself from a strict `Fields` and writes itself as the JSON that docs/manifest.md
specifies; what is written can be read again and gives the same bytes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from protocol.attestation.fields import Fields
from protocol.attestation.jcs import Json
from protocol.methodology.tasks import UNSCORED

MAX_DEVICES = 64  # the accelerators of the largest single machine, four times over
MAX_SOURCES = 64  # the sources that one dataset mixes
MAX_LAYERS = 256  # twice the layers that an image may have
MAX_RUNS = 100  # ten in an official session
MAX_METRICS = 16  # of one task
MAX_PROBES = 16  # three in an official session
MAX_POINTS = 1_000_000  # of a dataset or a shard: a thousand times the standard set
MAX_RESOURCES = 256  # three files a run, and the session's own

Blame = Literal["vendor", "rig", "measurement"]
BLAMES: tuple[Blame, ...] = ("vendor", "rig", "measurement")


@dataclass(frozen=True, slots=True, kw_only=True)
class RunnerLink:
    """Which key speaks and where this statement stands in its chain: `prev` is the id of the key's last statement."""

    runner_id: str
    key_id: str
    boot_id: str
    seq: int
    prev: str | None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `runner`."""
        return {
            "id": self.runner_id,
            "keyId": self.key_id,
            "bootId": self.boot_id,
            "seq": self.seq,
            "prev": self.prev,
        }

    @staticmethod
    def read(fields: Fields) -> RunnerLink:
        """Read the JSON object `runner`."""
        link = RunnerLink(
            runner_id=fields.text("id"),
            key_id=fields.sha256("keyId"),
            boot_id=fields.text("bootId"),
            seq=fields.integer("seq", minimum=1),
            prev=None if fields.is_null("prev") else fields.sha256("prev"),
        )
        fields.done()
        return link


@dataclass(frozen=True, slots=True, kw_only=True)
class SubmissionClaim:
    """What the vendor handed in, and the digest of the document that says so."""

    submission_id: str
    vendor: str
    model: str
    model_version: str
    proprietary: bool
    framework: str
    document_sha256: str

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `submission`."""
        return {
            "id": self.submission_id,
            "vendor": self.vendor,
            "model": self.model,
            "modelVersion": self.model_version,
            "proprietary": self.proprietary,
            "framework": self.framework,
            "documentSha256": self.document_sha256,
        }

    @staticmethod
    def read(fields: Fields) -> SubmissionClaim:
        """Read the JSON object `submission`."""
        claim = SubmissionClaim(
            submission_id=fields.text("id"),
            vendor=fields.text("vendor"),
            model=fields.text("model"),
            model_version=fields.text("modelVersion"),
            proprietary=fields.boolean("proprietary"),
            framework=fields.text("framework"),
            document_sha256=fields.sha256("documentSha256"),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class ImageClaim:
    """The image by its configuration and layers, computed by the runner, with the registry's digest beside them."""

    config_digest: str
    manifest_digest: str | None
    diff_ids: tuple[str, ...]

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `image`."""
        return {
            "configDigest": self.config_digest,
            "manifestDigest": self.manifest_digest,
            "diffIds": list(self.diff_ids),
        }

    @staticmethod
    def read(fields: Fields) -> ImageClaim:
        """Read the JSON object `image`."""
        layers = fields.array("diffIds", limit=MAX_LAYERS)
        wrapped = (Fields({"diffId": layer}, f"{fields.at('diffIds')}[{n}]") for n, layer in enumerate(layers))
        claim = ImageClaim(
            config_digest=fields.image_digest("configDigest"),
            manifest_digest=None if fields.is_null("manifestDigest") else fields.image_digest("manifestDigest"),
            diff_ids=tuple(item.image_digest("diffId") for item in wrapped),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceClaim:
    """One leased device."""

    uuid: str
    name: str

    def to_json(self) -> dict[str, Json]:
        """Return one object of `devices`."""
        return {"uuid": self.uuid, "name": self.name}

    @staticmethod
    def read(fields: Fields) -> DeviceClaim:
        """Read one object of `devices`."""
        claim = DeviceClaim(uuid=fields.text("uuid"), name=fields.text("name"))
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardClaim:
    """A dataset's private shard: how many points it has, its number, and the salted digest that binds it."""

    points: int
    number: int
    salted_sha256: str

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `privateShard`."""
        return {"points": self.points, "number": self.number, "saltedSha256": self.salted_sha256}

    @staticmethod
    def read(fields: Fields) -> ShardClaim:
        """Read the JSON object `privateShard`."""
        claim = ShardClaim(
            points=fields.integer("points", minimum=1, maximum=MAX_POINTS),
            number=fields.integer("number", minimum=1),
            salted_sha256=fields.sha256("saltedSha256"),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetClaim:
    """The dataset of a cell: its digest, how many points each source gives, and its private shard, if it has one.

    `shard` is what the plan says; without `private_shard` nothing binds it, and it counts for nothing.
    """

    name: str
    sha256: str
    sources: Mapping[str, int]
    thirds: bool
    shard: bool
    private_shard: ShardClaim | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `dataset`."""
        found: dict[str, Json] = {
            "name": self.name,
            "sha256": self.sha256,
            "sources": dict(self.sources),
            "thirds": self.thirds,
            "shard": self.shard,
        }
        return found if self.private_shard is None else {**found, "privateShard": self.private_shard.to_json()}

    @staticmethod
    def read(fields: Fields) -> DatasetClaim:
        """Read the JSON object `dataset`."""
        sources = fields.open_map("sources", limit=MAX_SOURCES)
        claim = DatasetClaim(
            name=fields.text("name"),
            sha256=fields.sha256("sha256"),
            sources={name: sources.integer(name) for name in sources.names()},
            thirds=fields.boolean("thirds"),
            shard=fields.boolean("shard"),
            private_shard=ShardClaim.read(fields.child("privateShard")) if fields.has("privateShard") else None,
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanCell:
    """One planned cell: task, scenario and precision, over how many points and runs of which dataset.

    `probes` names the rule by which probes stand among the runs (`protocol.methodology.stages`), None without any.
    """

    cell_id: str
    task: str
    scenario: str
    precision: str
    batch: int
    points: int
    runs: int
    dataset: DatasetClaim
    probes: str | None = None

    @property
    def private_points(self) -> int:
        """How many points the private shard has that the plan binds; 0 without one."""
        return 0 if self.dataset.private_shard is None else self.dataset.private_shard.points

    def to_json(self) -> dict[str, Json]:
        """Return one object of the plan's `cells`."""
        found: dict[str, Json] = {
            "id": self.cell_id,
            "task": self.task,
            "scenario": self.scenario,
            "precision": self.precision,
            "batch": self.batch,
            "points": self.points,
            "runs": self.runs,
            "dataset": self.dataset.to_json(),
        }
        return found if self.probes is None else {**found, "probes": self.probes}

    @staticmethod
    def read(fields: Fields) -> PlanCell:
        """Read one object of the plan's `cells`."""
        cell = PlanCell(
            cell_id=fields.text("id"),
            task=fields.text("task"),
            scenario=fields.text("scenario"),
            precision=fields.text("precision"),
            batch=fields.integer("batch", minimum=1),
            points=fields.integer("points", minimum=1, maximum=MAX_POINTS),
            runs=fields.integer("runs", minimum=1, maximum=MAX_RUNS),
            dataset=DatasetClaim.read(fields.child("dataset")),
            probes=fields.text("probes") if fields.has("probes") else None,
        )
        fields.done()
        return cell


@dataclass(frozen=True, slots=True, kw_only=True)
class StatementLink:
    """Another statement, by its place in the log and its id."""

    log_index: int
    statement_id: str

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `{logIndex, id}`."""
        return {"logIndex": self.log_index, "id": self.statement_id}

    @staticmethod
    def read(fields: Fields) -> StatementLink:
        """Read the JSON object `{logIndex, id}`."""
        link = StatementLink(log_index=fields.integer("logIndex"), statement_id=fields.sha256("id"))
        fields.done()
        return link


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a session was aborted or a campaign failed: an error code, and on whose side the cause was."""

    code: str
    blame: Blame

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `{code, blame}`."""
        return {"code": self.code, "blame": self.blame}

    @staticmethod
    def read(fields: Fields) -> Failure:
        """Read the JSON object `{code, blame}`."""
        failure = Failure(code=fields.text("code"), blame=fields.one_of("blame", BLAMES))
        fields.done()
        return failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Resource:
    """Something by its digest, as SLSA provenance writes dependencies and byproducts."""

    name: str
    sha256: str
    media_type: str | None = None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `{name, digest, mediaType}`; no media type is no field."""
        value: dict[str, Json] = {"name": self.name, "digest": {"sha256": self.sha256}}
        return value if self.media_type is None else {**value, "mediaType": self.media_type}

    @staticmethod
    def read(fields: Fields) -> Resource:
        """Read the JSON object `{name, digest, mediaType}`."""
        digest = fields.child("digest")
        resource = Resource(
            name=fields.text("name"),
            sha256=digest.sha256("sha256"),
            media_type=fields.text("mediaType") if fields.has("mediaType") else None,
        )
        digest.done()
        fields.done()
        return resource


@dataclass(frozen=True, slots=True, kw_only=True)
class TokensClaim:
    """The output tokens of one run: as the runner's pinned tokenizer counts them, and as the model claims, or None."""

    counted: int
    claimed: int | None

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `outputTokens`."""
        return {"counted": self.counted, "claimed": self.claimed}

    @staticmethod
    def read(fields: Fields) -> TokensClaim:
        """Read the JSON object `outputTokens`."""
        claim = TokensClaim(
            counted=fields.integer("counted"),
            claimed=None if fields.is_null("claimed") else fields.integer("claimed"),
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityClaim:
    """The quality of one run: the task's metric, its value as a decimal string, and the samples that failed.

    `value` is None, and the metric `none`, where the dataset has no references. `secondary` are the task's other
    metrics; a run without any leaves the field out, and so does one whose task has no tokens.
    """

    metric: str
    value: str | None
    errors: int
    secondary: Mapping[str, str] = field(default_factory=dict)
    tokens: TokensClaim | None = None

    def values(self) -> dict[str, str]:
        """Return every value that is there, by its metric."""
        return {**({} if self.value is None else {self.metric: self.value}), **self.secondary}

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `quality`."""
        found: dict[str, Json] = {"metric": self.metric, "value": self.value, "errors": self.errors}
        if self.secondary:
            found["secondary"] = dict(self.secondary)
        if self.tokens is not None:
            found["outputTokens"] = self.tokens.to_json()
        return found

    @staticmethod
    def read(fields: Fields) -> QualityClaim:
        """Read the JSON object `quality`."""
        metric = fields.text("metric")
        claim = QualityClaim(
            metric=metric,
            value=None if metric == UNSCORED and fields.is_null("value") else fields.decimal("value"),
            errors=fields.integer("errors"),
            secondary=_decimals(fields.open_map("secondary", limit=MAX_METRICS)) if fields.has("secondary") else {},
            tokens=TokensClaim.read(fields.child("outputTokens")) if fields.has("outputTokens") else None,
        )
        fields.done()
        return claim


def counts(claims: Sequence[QualityClaim]) -> dict[str, str]:
    """Return what a cell's runs counted, summed: failed samples, and output tokens where every run states them."""
    found = {"sampleErrors": str(sum(claim.errors for claim in claims))}
    tokens = [claim.tokens for claim in claims if claim.tokens is not None]
    if tokens and len(tokens) == len(claims):
        found["outputTokens"] = str(sum(run.counted for run in tokens))
        claimed = [run.claimed for run in tokens if run.claimed is not None]
        if len(claimed) == len(tokens):
            found["claimedOutputTokens"] = str(sum(claimed))
    return found


COUNTS = frozenset({"sampleErrors", "outputTokens", "claimedOutputTokens"})
"""The figures of a cell's committed list that are no metric."""


def _decimals(fields: Fields) -> dict[str, str]:
    return {name: fields.decimal(name) for name in fields.names()}


@dataclass(frozen=True, slots=True, kw_only=True)
class ResponseTree:
    """The RFC 6962 tree over the salted digests of a run's responses: its root and its number of leaves."""

    root: str
    leaves: int

    def to_json(self) -> dict[str, Json]:
        """Return the JSON object `responses`."""
        return {"root": self.root, "leaves": self.leaves}

    @staticmethod
    def read(fields: Fields) -> ResponseTree:
        """Read the JSON object `responses`."""
        tree = ResponseTree(root=fields.sha256("root"), leaves=fields.integer("leaves"))
        fields.done()
        return tree


@dataclass(frozen=True, slots=True, kw_only=True)
class RunClaim:
    """One run: where its window and timeline are, what they give, and whether it was discarded.

    `figures` is the JSON of `protocol.methodology.figures`, which everybody can compute again. A discarded run may lack
    figures, responses and quality; a run that counts may not.
    """

    run: int
    window: str
    timeline_sha256: str
    queries: int
    samples: int
    passes: int
    figures: Mapping[str, Json] | None
    responses: ResponseTree | None
    quality: QualityClaim | None
    discarded: bool

    def to_json(self) -> dict[str, Json]:
        """Return one object of `runs`."""
        return {
            "run": self.run,
            "window": self.window,
            "timelineSha256": self.timeline_sha256,
            "queries": self.queries,
            "samples": self.samples,
            "passes": self.passes,
            "figures": self.figures,
            "responses": None if self.responses is None else self.responses.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "discarded": self.discarded,
        }

    @staticmethod
    def read(fields: Fields) -> RunClaim:
        """Read one object of `runs`."""
        discarded = fields.boolean("discarded")

        def absent(name: str) -> bool:
            return discarded and fields.is_null(name)

        claim = RunClaim(
            run=fields.integer("run", minimum=1, maximum=MAX_RUNS),
            window=fields.text("window"),
            timeline_sha256=fields.sha256("timelineSha256"),
            queries=fields.integer("queries"),
            samples=fields.integer("samples"),
            passes=fields.integer("passes"),
            figures=None if absent("figures") else fields.json_object("figures"),
            responses=None if absent("responses") else ResponseTree.read(fields.child("responses")),
            quality=None if absent("quality") else QualityClaim.read(fields.child("quality")),
            discarded=discarded,
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeClaim:
    """One probe among the runs: as a run's claim, with its window's name and the number of its response tree.

    `quality` is that of the private points of a shard window, None for every other probe. A discarded probe may lack
    figures and responses.
    """

    number: int
    name: str
    timeline_sha256: str
    queries: int
    samples: int
    figures: Mapping[str, Json] | None
    responses: ResponseTree | None
    quality: QualityClaim | None
    discarded: bool

    def to_json(self) -> dict[str, Json]:
        """Return one object of `probes`."""
        return {
            "number": self.number,
            "window": self.name,
            "timelineSha256": self.timeline_sha256,
            "queries": self.queries,
            "samples": self.samples,
            "figures": self.figures,
            "responses": None if self.responses is None else self.responses.to_json(),
            "quality": None if self.quality is None else self.quality.to_json(),
            "discarded": self.discarded,
        }

    @staticmethod
    def read(fields: Fields) -> ProbeClaim:
        """Read one object of `probes`."""
        discarded = fields.boolean("discarded")

        def absent(name: str) -> bool:
            return discarded and fields.is_null(name)

        claim = ProbeClaim(
            number=fields.integer("number", minimum=MAX_RUNS + 1, maximum=MAX_RUNS + MAX_PROBES),
            name=fields.text("window"),
            timeline_sha256=fields.sha256("timelineSha256"),
            queries=fields.integer("queries"),
            samples=fields.integer("samples"),
            figures=None if absent("figures") else fields.json_object("figures"),
            responses=None if absent("responses") else ResponseTree.read(fields.child("responses")),
            quality=None if fields.is_null("quality") else QualityClaim.read(fields.child("quality")),
            discarded=discarded,
        )
        fields.done()
        return claim


@dataclass(frozen=True, slots=True, kw_only=True)
class CellResult:
    """The result of one cell: the outcome that it comes from, and its figures on the two lists."""

    cell_id: str
    outcome: str
    recomputed: Mapping[str, str]
    committed: Mapping[str, str]

    def to_json(self) -> dict[str, Json]:
        """Return one object of the result's `cells`."""
        return {
            "id": self.cell_id,
            "outcome": self.outcome,
            "recomputed": dict(self.recomputed),
            "committed": dict(self.committed),
        }

    @staticmethod
    def read(fields: Fields) -> CellResult:
        """Read one object of the result's `cells`."""
        result = CellResult(
            cell_id=fields.text("id"),
            outcome=fields.sha256("outcome"),
            recomputed=fields.text_map("recomputed", limit=MAX_RESOURCES),
            committed=fields.text_map("committed", limit=MAX_RESOURCES),
        )
        fields.done()
        return result
