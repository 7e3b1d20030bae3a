"""The auditor's own commands, on a bundle in virtual time: what is compared, refused, and handed over."""

from __future__ import annotations

import io
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from PIL import Image

from orchestrator.cli import main
from orchestrator.commands import equivalence as command
from orchestrator.equivalence import comparing, endpoint
from orchestrator.equivalence.recorded import parse_recorded
from orchestrator.record.keys import create_key
from protocol.attestation.beside import read_beside_file
from protocol.attestation.digest import sha256_hex
from protocol.attestation.equivalence import commitment_of, draw_seed
from protocol.attestation.openings import drawn_places, write_openings
from protocol.errors import DeadlineExceeded, VerificationError
from protocol.methodology.scenario import Precision
from protocol.methodology.tasks import Task
from protocol.samples import ImageAnswer, LabelsAnswer, Point, TextInput
from protocol.wire.jouleseal.v1 import sealed_inference_pb2_grpc as pb_grpc
from protocol.wire.server import SealedInference
from protocol.wire.transport import grpc, health, health_pb2, health_pb2_grpc
from tests.unit.wire.vendor import Vendor
from tests.worlds.production import CELL, ENDPOINT, SECRET, Production
from tests.worlds.world import IMAGE, dataset

POINTS = tuple(
    Point(index=index, point_id=f"p{index}", source="digits", input=TextInput(text=str(index)), reference=None)
    for index in range(CELL.points)
)


class Served:
    """Production that answers as the world's sealed image did, but for some points."""

    def __init__(self, otherwise: frozenset[int] = frozenset()) -> None:
        self.otherwise, self.asked = otherwise, []

    def claim(self):
        return ENDPOINT

    def answers(self, task, precision, points):
        assert (task, precision) == (Task.IMAGE_CLASSIFICATION, Precision.FP32)
        self.asked += [point.index for point in points]
        return [
            LabelsAnswer(labels=(("otherwise" if point.index in self.otherwise else str(point.index % 4 % 3), 0.0),))
            for point in points
        ]


class Desk:
    """What lies on the auditor's desk: a bundle, the vendor's word and the challenge as logged, and the openings."""

    def __init__(self, folder, monkeypatch) -> None:
        self.folder, self.story = folder, Production()
        self.word = self.story.word()
        self.challenge = self.story.challenge(self.word)
        self.served = Served()
        monkeypatch.setattr(command, "_dataset", lambda _cell, _folder: replace(dataset(CELL.points), points=POINTS))
        monkeypatch.setattr(command, "WireEndpoint", lambda **_options: self.served)
        (folder / "bundle.tar").write_bytes(self.story.world.tar())
        for name, said in (("word", self.word), ("challenge", self.challenge)):
            self.write(name, said)
        (folder / "secret").write_text(SECRET.hex() + "\n")
        create_key(folder / "auditor.pem")
        self.open(draw_seed(SECRET, self.challenge.nonce))

    def write(self, name, said):
        path = next(path for path in self.story.world.statements if f"{said.index:08d}" in path)
        (self.folder / name).write_bytes(self.story.world.statements[path])

    def open(self, seed, count=30):
        outcome = self.story.outcome
        places = {run: drawn_places(seed, outcome.statement_id, run, self.story.leaves, count) for run in (1, 2)}
        leaves = [leaf for run, drawn in places.items() for leaf in self.story.world.openings(outcome, run, drawn)]
        (self.folder / "openings").write_bytes(write_openings(leaves))

    def check(self, *more):
        at = {name: str(self.folder / name) for name in ("bundle.tar", "word", "challenge", "secret", "openings")}
        words = ["equivalence", "check", at["bundle.tar"], "--declaration", at["word"], "--challenge", at["challenge"]]
        words += ["--secret", at["secret"], "--openings", at["openings"], "--key", str(self.folder / "auditor.pem")]
        asked = [] if "--recorded" in more else ["--endpoint", "unix:/production"]
        return main([*words, *asked, "--out", str(self.folder / "finding"), *more])

    @property
    def finding(self):
        return read_beside_file((self.folder / "finding").read_bytes())


@pytest.fixture(name="desk")
def _desk(tmp_path, monkeypatch):
    return Desk(tmp_path, monkeypatch)


def refused(capsys):
    return capsys.readouterr().err.split()[1]


def test_production_that_answers_alike_agrees_and_each_point_is_asked_once(desk, capsys):
    assert desk.check("--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["verdict"] == "agree"
    assert said[CELL.cell_id] == "0 of 60 answers differ"
    envelope, statement, finding = desk.finding
    assert statement.subject_sha256 == IMAGE
    assert finding == replace(desk.story.found(desk.challenge), found_on=finding.found_on)
    assert sorted(desk.served.asked) == sorted(set(desk.served.asked))
    assert b"otherwise" not in envelope.payload


def test_what_the_command_signs_is_what_the_verifier_accepts(desk):
    assert desk.check() == 0
    desk.story.world.speak(desk.finding[2], by="auditor-lab")
    assert "no-production-equivalence" not in desk.story.world.judge().flags


def test_production_that_answers_otherwise_differs_at_just_those_places(desk):
    otherwise = frozenset(range(0, CELL.points, 5))
    desk.served = Served(otherwise)
    assert desk.check() == 1
    finding = desk.finding[2]
    assert finding.verdict == "differ"
    for run in finding.cells[0].runs:
        assert run.differing == tuple(place for place in run.places if place % CELL.points in otherwise)


def test_leaves_that_were_not_drawn_are_refused(desk, capsys):
    desk.open(bytes(32))
    assert desk.check() == 1
    assert refused(capsys) == "NOT_THE_DRAWN_LEAVES"
    assert not (desk.folder / "finding").exists()


def test_an_answer_that_was_not_given_is_refused(desk, capsys):
    data = (desk.folder / "openings").read_text().splitlines()
    leaf = json.loads(data[1])
    assert leaf["answer"] != "QgA="
    data[1] = data[1].replace(leaf["answer"], "QgA=")  # an error, where there was a label
    (desk.folder / "openings").write_text("\n".join(data) + "\n")
    assert desk.check() == 1
    assert refused(capsys) == "LEAF_NOT_COMMITTED"


def test_another_secret_and_another_declaration_are_refused(desk, capsys):
    (desk.folder / "secret").write_text("00" * 32)
    assert desk.check() == 1
    assert refused(capsys) == "OTHER_SECRET"
    (desk.folder / "secret").write_text("not hexadecimal")
    assert desk.check() == 2
    assert refused(capsys) == "SECRET_MALFORMED"
    (desk.folder / "secret").write_text(SECRET.hex())
    desk.story.world.now += 60
    desk.write("word", desk.story.word())
    assert desk.check() == 2
    assert refused(capsys) == "OTHER_DECLARATION"
    desk.write("word", desk.challenge)
    assert desk.check() == 2
    assert refused(capsys) == "OTHER_DECLARATION"


def test_a_challenge_that_was_not_witnessed_is_refused(desk, capsys):
    path = desk.folder / "challenge"
    bundle = json.loads(path.read_bytes())
    note = bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["checkpoint"]["envelope"]
    head, lines = note.split("\n\n")
    stripped = head + "\n\n" + lines.split("\n")[0] + "\n"
    spelled = [json.dumps(text, ensure_ascii=False).encode() for text in (note, stripped)]
    path.write_bytes(path.read_bytes().replace(*spelled))
    assert desk.check() == 1
    assert refused(capsys) == "QUORUM"


def test_another_dataset_and_another_engine_are_refused(desk, capsys, monkeypatch):
    monkeypatch.setattr(desk.served, "claim", lambda: replace(ENDPOINT, engine_version="2.0"))
    assert desk.check() == 2
    assert refused(capsys) == "ENDPOINT_NOT_DECLARED"
    monkeypatch.undo()
    monkeypatch.setattr(command, "WireEndpoint", lambda **_options: Served())
    other = replace(dataset(), points=POINTS, digest=sha256_hex(b"other points"))
    monkeypatch.setattr(command, "_dataset", lambda _cell, _folder: other)
    assert desk.check() == 2
    assert refused(capsys) == "OTHER_DATASET"


def test_what_was_recorded_is_found_again_and_only_under_its_challenge(desk, capsys):
    recorded = desk.folder / "recorded"
    assert desk.check("--record", str(recorded)) == 0
    live = desk.finding[2]
    assert recorded.stat().st_mode & 0o777 == 0o600
    assert desk.check("--recorded", str(recorded)) == 0
    again = desk.finding[2]
    assert again.cells == live.cells
    assert again.endpoint.recorded_sha256 == sha256_hex(recorded.read_bytes())
    capsys.readouterr()

    lines = recorded.read_bytes().splitlines(keepends=True)
    recorded.write_bytes(b"".join(lines[:-1]))
    assert desk.check("--recorded", str(recorded)) == 2
    assert refused(capsys) == "POINT_NOT_RECORDED"
    recorded.write_bytes(lines[0].replace(desk.challenge.statement_id.encode(), b"ab" * 32) + b"".join(lines[1:]))
    assert desk.check("--recorded", str(recorded)) == 2
    assert refused(capsys) == "RECORDED_FOR_ANOTHER"
    for broken in (b"".join([*lines, lines[-1]]), b"".join(lines)[:-1], b"{}\n", lines[0] + b"{}\n"):
        with pytest.raises(VerificationError):
            parse_recorded(broken)
        recorded.write_bytes(broken)
        assert desk.check("--recorded", str(recorded)) == 2
        assert refused(capsys) == "RECORDED_UNREADABLE"


def test_a_challenge_hides_its_secret_and_draws_enough(desk, capsys):
    words = ["equivalence", "challenge", str(desk.folder / "bundle.tar"), "--declaration", str(desk.folder / "word")]
    words += ["--key", str(desk.folder / "auditor.pem"), "--out", str(desk.folder / "mine")]
    assert main([*words, "--secret", str(desk.folder / "my-secret"), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["leavesPerRun"] == 30  # sixty over the two runs of the cell
    assert said["differences"] == ["batches"]
    challenge = read_beside_file((desk.folder / "mine").read_bytes())[2]
    secret = bytes.fromhex((desk.folder / "my-secret").read_text())
    assert challenge.commitment == commitment_of(secret)
    assert secret.hex().encode() not in (desk.folder / "mine").read_bytes()
    assert (desk.folder / "my-secret").stat().st_mode & 0o777 == 0o600
    assert main([*words, "--secret", str(desk.folder / "my-secret")]) == 2  # never over another one
    assert bytes.fromhex((desk.folder / "my-secret").read_text()) == secret
    assert main([*words, "--secret", str(desk.folder / "new"), "--leaves", "0"]) == 2
    assert main([*words, "--secret", str(desk.folder / "new"), "--campaign", "2"]) == 2
    assert "NO_CAMPAIGN" in capsys.readouterr().err


def picture(shade: int, size: int = 8) -> ImageAnswer:
    made = io.BytesIO()
    Image.new("RGB", (size, size), (shade, shade, shade)).save(made, "PNG")
    return ImageAnswer(content=made.getvalue())


@pytest.mark.parametrize(
    ("served", "agree"),
    [
        (picture(128), True),
        (picture(130), True),
        (picture(160), False),
        (picture(128, size=9), False),
        (ImageAnswer(content=b"\x89PNG\r\n\x1a\nno picture"), False),
        (ImageAnswer(content=picture(128).content[:40]), False),
    ],
)
def test_pictures_are_compared_by_what_they_show(served, agree):
    assert comparing._agree(picture(128), served) is agree


def test_production_is_dialled_under_tls_and_not_believed_without(monkeypatch):
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(key, SHA256())
        .public_bytes(Encoding.PEM)
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    server = grpc.server(ThreadPoolExecutor(4))
    model = Vendor()
    pb_grpc.add_SealedInferenceServiceServicer_to_server(SealedInference(model), server)
    condition = health.HealthServicer()
    condition.set("", health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(condition, server)
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([(private, certificate)]))
    server.start()
    try:
        monkeypatch.setattr(endpoint, "HEALTH_S", 5.0)
        said = endpoint.WireEndpoint(target=f"localhost:{port}", tls=True, roots=certificate).claim()
        assert said.engine == model.describe().engine
        monkeypatch.setattr(endpoint, "HEALTH_S", 0.5)
        for stranger in ({"tls": True}, {}):  # no certificate of anybody's, and no TLS at all
            with pytest.raises(DeadlineExceeded):
                endpoint.WireEndpoint(target=f"localhost:{port}", **stranger).claim()
    finally:
        server.stop(0).wait()
