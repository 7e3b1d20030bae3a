"""Check 4: the log and the witnesses are those of the keyring: the policy by its digest, each key by its role."""

from __future__ import annotations

from protocol.attestation.bundle import POLICY_PATH, BundleFiles
from protocol.attestation.digest import sha256_hex
from protocol.attestation.keyring import Keyring
from protocol.attestation.keys import PublicKey
from protocol.tlog.policy import NO_QUORUM, Policy, parse_policy
from verifier.walk import Established, Findings, counted, false


def check(files: BundleFiles, keyring: Keyring) -> Established[Policy]:
    """Return the policy; a key of it that the keyring does not have in that role makes the claim false."""
    data = files[POLICY_PATH]
    found = sha256_hex(data)
    if found != keyring.policy_sha256:
        raise false(
            "POLICY_REPLACED",
            observed=f"trust/policy.txt with digest {found}",
            expected=f"{keyring.policy_sha256}, as the keyring says",
        )
    policy = parse_policy(data)
    findings = Findings()
    _check_enrolled(keyring, "log", policy.log.name, policy.log.public_key, findings)
    for witness in policy.witnesses.values():
        _check_enrolled(keyring, "witness", witness.name, witness.public_key, findings)
    if policy.quorum == NO_QUORUM:
        findings.add(
            false(
                "NO_QUORUM",
                observed="a policy whose quorum is none",
                expected="at least one witness, or nobody saw the log",
            )
        )
    findings.settle()
    witnesses = counted(len(policy.witnesses), "witness")
    detail = f"log {policy.log.name}, {witnesses}, quorum {policy.quorum}, as the keyring names them"
    return Established(policy, detail)


def _check_enrolled(keyring: Keyring, role: str, name: str, key: PublicKey, findings: Findings) -> None:
    enrolled = keyring.find(key.key_id)
    if enrolled is None or (enrolled.role, enrolled.name) != (role, name):
        findings.add(
            false(
                "KEY_NOT_ENROLLED",
                observed=f"the policy's {role} {name} with key {key.key_id[:16]}",
                expected=f"that key in the keyring, in the role {role} and under that name",
            )
        )
