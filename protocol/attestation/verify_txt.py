"""VERIFY.txt: what somebody who holds only the bundle can do with it, down to openssl and nothing else."""

from __future__ import annotations

from protocol.attestation.encoding import b64encode
from protocol.attestation.envelope import IN_TOTO_PAYLOAD_TYPE
from protocol.attestation.keys import Algorithm, PublicKey

_TEXT = """\
HOW TO VERIFY THIS BUNDLE

1. The whole claim. Take root.json from its owner, not from here, and run, with no network:

     jouleseal-verify bundle.tar --root root.json

2. The root that this bundle is of. Its fingerprint must be the one that the owner of the root publishes:

     tar -xf bundle.tar && openssl dgst -sha256 trust/root/1.root.json

3. One signature, with openssl alone. In the unpacked bundle, for any FILE under statements/:

     sed 's/.*"payload":"\\([^"]*\\)".*/\\1/' FILE | openssl base64 -d -A > payload
     sed 's/.*"sig":"\\([^"]*\\)".*/\\1/' FILE | openssl base64 -d -A > signature
     printf 'DSSEv1 {type_length} {payload_type} %d ' "$(wc -c < payload)" | cat - payload > signed
     echo {spki} | openssl base64 -d -A > key.der
     {verify}

   The key is that of the runner, SHA-256 {key_id}.
   It proves that this key signed this statement. Whether the key may speak, whether the number follows from the
   evidence, and whether a run was left out, is what the first command finds out.
"""

_OPENSSL = {
    Algorithm.ED25519: "openssl pkeyutl -verify -pubin -keyform DER -inkey key.der"
    " -rawin -in signed -sigfile signature",
    Algorithm.ECDSA_P256: "openssl dgst -sha256 -verify key.der -keyform DER -signature signature signed",
}


def verify_text(runner_key: PublicKey) -> bytes:
    """Return the bytes of VERIFY.txt for bundles of this runner's key."""
    return _TEXT.format(
        type_length=len(IN_TOTO_PAYLOAD_TYPE),
        payload_type=IN_TOTO_PAYLOAD_TYPE,
        spki=b64encode(runner_key.spki),
        verify=_OPENSSL[runner_key.algorithm],
        key_id=runner_key.key_id,
    ).encode("utf-8")
