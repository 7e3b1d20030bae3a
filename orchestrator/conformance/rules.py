"""The rules that a submission is checked against, and every code by which one of them can be broken.

Rules of the rules:
 1. A rule is checked once per image or once per cell, and says one thing: OK, a warning, or failed with a code.
 2. A warning is for what an official run would accept: it stands, but less well than it could. Everything that ends an
    official run has failed here, under the same code.
 3. Every code has a remedy that the vendor can carry out. docs/vendor.md's tables are made from this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from types import MappingProxyType


class Rule(Enum):
    """What is checked, in the order in which it is; the value is the rule's name on screens."""

    SUBMISSION = "submission"
    IMAGE = "image"
    USER = "user"
    RESOURCES = "resources"
    VOLUMES = "volumes"
    ENVIRONMENT = "environment"
    HEALTH_CHECK = "health-check"
    STOP_SIGNAL = "stop-signal"
    PROFILE = "profile"
    SOCKET = "socket"
    HEALTH = "health"
    DESCRIBE = "describe"
    OFFER = "offer"
    LOAD = "load"
    STREAM = "stream"
    FORM = "form"
    CONTENT = "content"
    TOKENS = "tokens"
    DEADLINE = "deadline"
    QUALITY = "quality"
    LAST_BATCH = "last-batch"
    NO_STATE = "no-state"
    UNLOAD = "unload"
    MEMORY = "memory"
    STOP = "stop"
    OUTPUT = "output"


EXPECTED: Mapping[Rule, str] = MappingProxyType(
    {
        Rule.SUBMISSION: "a submission.yaml without a mistake",
        Rule.IMAGE: "a well-formed image on this machine, whose identity can be computed from its content",
        Rule.USER: "a numeric user and group that are not root",
        Rule.RESOURCES: "memory, processors and shared memory that this machine has",
        Rule.VOLUMES: "no VOLUME: a sandbox writes to its own memory only",
        Rule.ENVIRONMENT: "no variable of the dynamic linker, of the device hook or of the sandbox itself",
        Rule.HEALTH_CHECK: "no HEALTHCHECK: it would run during the measurement",
        Rule.STOP_SIGNAL: "no STOPSIGNAL but SIGTERM",
        Rule.PROFILE: "a sandbox that starts and is exactly its launch profile",
        Rule.SOCKET: "a unix socket of the container's own at the path in JOULESEAL_SOCKET, accepting connections",
        Rule.HEALTH: "SERVING from grpc.health.v1 on that socket",
        Rule.DESCRIBE: "a complete description within a second, before any weights are read",
        Rule.OFFER: "the cell's task, precision and batch among what is described, under the submission's names",
        Rule.LOAD: "READY as the last phase of Load",
        Rule.STREAM: "one stream on which every query is answered, by a server that stays",
        Rule.FORM: "messages in UTF-8: one answer per sample, in order, of the task's kind, within its bounds",
        Rule.CONTENT: "finite numbers, named labels best first, spans and boxes within their input, readable pictures",
        Rule.TOKENS: "tokens within the task's bounds, as claimed and as we count them",
        Rule.DEADLINE: "every answer within half of its deadline, the other half being the margin",
        Rule.QUALITY: "answers without errors, at the task's floor or better",
        Rule.LAST_BATCH: "a last query with fewer samples than the batch is answered like any other",
        Rule.NO_STATE: "the same answer to the same sample, whatever was asked before it",
        Rule.UNLOAD: "Unload ends in time",
        Rule.MEMORY: "at most four fifths of the memory limit in use when the questions are over",
        Rule.STOP: "an end within the grace after SIGTERM",
        Rule.OUTPUT: "little output: writing it costs energy that is metered, and nobody reads it in official runs",
    }
)


@dataclass(frozen=True, slots=True)
class Code:
    """One way to break a rule. `rule` is None where the rule is whichever was being checked."""

    rule: Rule | None
    meaning: str
    remedy: str
    warning: bool = False


_SOCKET_EARLY = "call protocol.wire.serve(model), and open the socket before anything slow such as reading weights"
_RESOURCES = "raise `resources.memory_mib`, or use less: /tmp, /cache and shared memory count too"

CODES: Mapping[str, Code] = MappingProxyType(
    {
        "SUBMISSION_MISTAKES": Code(
            Rule.SUBMISSION, "the document has mistakes; all are listed with their lines", "correct the lines named"
        ),
        "SUBMISSION_UNPARSABLE": Code(
            Rule.SUBMISSION, "the document is not plain YAML", "write mappings, lists and scalars, in UTF-8"
        ),
        "IMAGE_NOT_FOUND": Code(
            Rule.IMAGE,
            "no image of that name is on this machine, and nothing is pulled",
            "build or load the image, and name it as `docker images` shows it",
        ),
        "IMAGE_ARCHIVE": Code(
            Rule.IMAGE, "the image's archive is damaged or not one image", "build the image again and check it again"
        ),
        "IMAGE_CONFIG": Code(
            Rule.IMAGE, "the image's configuration is malformed", "build the image with an ordinary builder"
        ),
        "IMAGE_USER": Code(
            Rule.USER,
            "the image has no USER, a named one, or root",
            "end the Dockerfile with `USER 65532:65532` and make the model's files readable for that number",
        ),
        "RESOURCES": Code(
            Rule.RESOURCES,
            "the submission asks for more than this machine has, or for too little",
            "change `resources` in submission.yaml, or check on a machine like the operator's",
        ),
        "IMAGE_VOLUME": Code(
            Rule.VOLUMES, "a VOLUME cannot be covered", "remove the VOLUME line; /tmp and /cache can be written to"
        ),
        "VOLUME_COVERED": Code(
            Rule.VOLUMES,
            "an empty tmpfs lies over each VOLUME: what the image holds there is not seen",
            "remove the VOLUME line, and keep the model's files elsewhere",
            warning=True,
        ),
        "IMAGE_ENV": Code(Rule.ENVIRONMENT, "a variable has an impossible name", "rename or remove the ENV line"),
        "ENV_CLEARED": Code(
            Rule.ENVIRONMENT,
            "LD_*, NVIDIA_* and JOULESEAL_* variables of the image are cleared or set by the sandbox",
            "remove the ENV lines; link libraries with an rpath, or set the variable in the entry point's own process",
            warning=True,
        ),
        "HEALTHCHECK_IGNORED": Code(
            Rule.HEALTH_CHECK,
            "the image's HEALTHCHECK never runs",
            "remove the HEALTHCHECK line; health is asked over the socket",
            warning=True,
        ),
        "STOPSIGNAL_IGNORED": Code(
            Rule.STOP_SIGNAL,
            "the image's STOPSIGNAL is not used: a sandbox is stopped with SIGTERM",
            "remove the STOPSIGNAL line and end on SIGTERM",
            warning=True,
        ),
        "IMAGE_ENTRYPOINT": Code(
            Rule.PROFILE,
            "the engine could not start the entry point",
            "set an ENTRYPOINT that is in the image and executable for its user; /tmp allows no execution",
        ),
        "IMAGE_LAYOUT": Code(
            Rule.PROFILE,
            "a folder of the sandbox cannot be mounted over the image",
            "leave /tmp, /cache and /run/jouleseal plain folders, or leave them out of the image",
        ),
        "PROFILE_DIFFERS": Code(
            Rule.PROFILE,
            "the running sandbox is not what was asked for",
            "run `jouleseal doctor`: this engine does not apply the profile",
        ),
        "EXITED": Code(
            None,
            "the container ended by itself",
            "read its output below: it ran under the same profile; no network, a read-only root, the image's own user",
        ),
        "OOM_KILLED": Code(None, "the kernel killed a process at the memory limit", _RESOURCES),
        "SOCKET_MISSING": Code(Rule.SOCKET, "no socket within the start deadline", _SOCKET_EARLY),
        "SOCKET_NOT_CONNECTABLE": Code(
            Rule.SOCKET, "a socket on which nothing answers within the start deadline", _SOCKET_EARLY
        ),
        "SOCKET_IS_LINK": Code(
            Rule.SOCKET,
            "a link lies where the socket belongs",
            "bind the socket itself at the path in JOULESEAL_SOCKET",
        ),
        "SOCKET_IS_NO_SOCKET": Code(
            Rule.SOCKET,
            "something else lies where the socket belongs",
            "bind the socket at the path in JOULESEAL_SOCKET",
        ),
        "SOCKET_NOT_OURS": Code(
            Rule.SOCKET, "another process than the container's listens", "listen from a process of this container"
        ),
        "HEALTH_TIMEOUT": Code(
            Rule.HEALTH,
            "no SERVING within the health deadline",
            "say SERVING as soon as Describe and Load can be answered; weights are read in Load, not before",
        ),
        "DESCRIBE_TIMEOUT": Code(
            Rule.DESCRIBE, "no description within its deadline", "answer from constants; read no weights in describe()"
        ),
        "DESCRIBE_SLOW": Code(
            Rule.DESCRIBE,
            "the description took more than a second",
            "answer from constants; read no weights in describe()",
            warning=True,
        ),
        "DESCRIPTION_INCOMPLETE": Code(
            Rule.DESCRIBE,
            "something in the description is missing, repeated or too long",
            "state the revision, model, engine, tasks with precisions, and the largest batch",
        ),
        "REVISION_UNSUPPORTED": Code(
            Rule.DESCRIBE,
            "the server needs a newer revision of the wire than this runner speaks",
            "build on the vendor base of this release",
        ),
        "CELL_NOT_OFFERED": Code(
            Rule.OFFER,
            "the description lacks the task, its precision or its batch",
            "add it to what describe() returns (`max_batch` is at least 32 for throughput), or take it out of the "
            "submission",
        ),
        "NAME_DIFFERS": Code(
            Rule.OFFER,
            "describe() and submission.yaml name different models or versions",
            "give both the same name and version: the submission's are published",
            warning=True,
        ),
        "TASK_NOT_OFFERED": Code(
            Rule.LOAD, "a call of the wire is not implemented", "implement Load and Infer for what is described"
        ),
        "LOAD_TIMEOUT": Code(
            Rule.LOAD, "loading did not end within its deadline", "load less, or faster; everything is on local disk"
        ),
        "LOAD_INCOMPLETE": Code(Rule.LOAD, "loading ended without READY", "send READY as the last phase"),
        "STREAM_ENDED": Code(
            None, "the server ended the stream before its query was answered", "answer until the runner ends the stream"
        ),
        "STREAM_BROKEN": Code(None, "the connection ended", "keep the server running; read its output below"),
        "VENDOR_STATUS": Code(
            None,
            "a call ended with a status that is not OK",
            "read the traceback in the output below; a sample that cannot be answered is a SampleError, not a status",
        ),
        "RESPONSE_TOO_LARGE": Code(
            None, "an answer is larger than its task allows", "answer with what the task asks for and nothing more"
        ),
        "WRONG_OUTPUT_COUNT": Code(
            Rule.FORM, "more or fewer answers than samples", "give one answer for each sample of the query"
        ),
        "OUT_OF_ORDER": Code(
            Rule.FORM, "answers to other samples or queries than were asked", "answer in the order of the query"
        ),
        "WRONG_OUTPUT_TYPE": Code(
            Rule.FORM,
            "an answer of another kind than the task's, or none",
            "answer with the task's output, or an error",
        ),
        "OUTPUT_TOO_LARGE": Code(
            Rule.FORM, "an answer holds more than it may", "answer with what the task asks for and nothing more"
        ),
        "GARBAGE_BYTES": Code(
            Rule.FORM, "the bytes are no message of the wire", "use the generated code of this release"
        ),
        "INVALID_UTF8": Code(Rule.FORM, "a text is not UTF-8", "decode the model's bytes before answering with them"),
        "NOT_A_NUMBER": Code(
            Rule.CONTENT,
            "a number is NaN or infinite",
            "look for overflow in low precisions; answer with finite numbers",
        ),
        "LABELS_NOT_SORTED": Code(Rule.CONTENT, "labels are not best first", "sort labels by falling score"),
        "SPAN_OUT_OF_RANGE": Code(
            Rule.CONTENT, "a span lies outside its context", "count Unicode code points of the context, end excluded"
        ),
        "BOX_INSIDE_OUT": Code(
            Rule.CONTENT, "a box has its edges swapped", "give pixels of the input, minimum before maximum"
        ),
        "BOX_OUTSIDE": Code(
            Rule.CONTENT,
            "a box shows nothing of its picture",
            "give pixels of the picture that was sent, not of a resized one; a box that overhangs an edge is cut there",
        ),
        "LABEL_EMPTY": Code(Rule.CONTENT, "a label has no name", "answer with the names that the dataset uses"),
        "IMAGE_UNREADABLE": Code(
            Rule.CONTENT,
            "a picture is neither JPEG nor PNG, cannot be decoded, or is larger than 4096 pixels a side",
            "answer with the bytes of a whole file",
        ),
        "TOO_MANY_TOKENS": Code(
            Rule.TOKENS,
            "more tokens than the task allows: as claimed, or four times as many as we count them",
            "stop at `max_output_tokens` of the load order",
        ),
        "TOO_FEW_TOKENS": Code(
            Rule.TOKENS,
            "fewer tokens than the task asks for: as claimed, or less than a fourth as we count them",
            "go on until `min_output_tokens` of the load order",
        ),
        "USAGE_CONTRADICTS": Code(
            Rule.TOKENS, "claimed counts contradict one another", "count once; leave out what is not counted"
        ),
        "SAMPLE_DEADLINE": Code(
            Rule.DEADLINE, "an answer came too late or not at all", "make the model faster, or leave the scenario out"
        ),
        "DEADLINE_MARGIN": Code(
            Rule.DEADLINE,
            "the slowest answer took more than half of its deadline",
            "make the model faster: the operator's machine may be slower, and a late answer ends the run",
            warning=True,
        ),
        "SAMPLE_ERRORS": Code(
            Rule.QUALITY,
            "more than 1 % of the samples were answered with an error",
            "answer every sample; the reasons and details that the model gave stand beside the code",
        ),
        "BELOW_FLOOR": Code(
            Rule.QUALITY,
            "the quality on the public points is worse than the task's floor: the result is published, never rated",
            "compare the labels' spelling with the dataset's, and the preprocessing with the model's",
            warning=True,
        ),
        "NO_FLOOR": Code(
            Rule.QUALITY,
            "no floor is defined for this task yet, or the set has no references: its results cannot be rated",
            "nothing to do: the quality is published as it is",
            warning=True,
        ),
        "ANSWERS_DEPEND_ON_ORDER": Code(
            Rule.NO_STATE,
            "the same samples in another order got other answers, in the same order they got the same",
            "keep nothing between queries, and keep the samples of a batch apart; every run has an order of its own",
        ),
        "BATCH_CHANGES_ANSWERS": Code(
            Rule.NO_STATE,
            "a few answers change with the samples that share their batch",
            "nothing to do where it is rounding; otherwise keep the samples of a batch apart (padding, masks)",
            warning=True,
        ),
        "NOT_DETERMINISTIC": Code(
            Rule.NO_STATE,
            "the same samples in the same order got other answers",
            "nothing to do if the model samples; otherwise fix its seed, so that its quality is the same in every run",
            warning=True,
        ),
        "UNLOAD_TIMEOUT": Code(Rule.UNLOAD, "Unload did not end within its deadline", "release the model and return"),
        "MEMORY_MARGIN": Code(Rule.MEMORY, "less than a fifth of the memory limit is left", _RESOURCES, warning=True),
        "STOP_IGNORED": Code(
            Rule.STOP,
            "the container did not end on SIGTERM and was killed",
            "handle SIGTERM in the entry point and pass it on to what it starts",
            warning=True,
        ),
        "OUTPUT_VOLUME": Code(
            Rule.OUTPUT, "the container writes a lot to its output", "log less: no line for each query", warning=True
        ),
    }
)


def rule_of(code: str) -> Rule | None:
    """Return the rule that a code always breaks; None where it is whichever was being checked."""
    known = CODES.get(code)
    return None if known is None else known.rule
