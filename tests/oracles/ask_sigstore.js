// Asks @sigstore/verify about one of our statement files: node ask_sigstore.js FILE; exit code 0 is yes, 1 is no.
// FILE is JSON: {"bundle": <the statement file>, "key": <PEM>, "log": {"id": <base64>, "key": <PEM>, "origin": <name>}}.
const crypto = require('crypto');
const fs = require('fs');
const { bundleFromJSON } = require('@sigstore/bundle');
const { Verifier, toSignedEntity } = require('@sigstore/verify');

const asked = JSON.parse(fs.readFileSync(process.argv[2]));
const always = { start: new Date(0), end: new Date(8.64e15) };
const trust = {
  certificateAuthorities: [],
  timestampAuthorities: [],
  ctlogs: [],
  tlogs: [{
    baseURL: asked.log.origin,
    logID: Buffer.from(asked.log.id, 'base64'),
    publicKey: crypto.createPublicKey(asked.log.key),
    validFor: always,
  }],
  publicKey: () => ({ publicKey: crypto.createPublicKey(asked.key), validFor: () => true }),
};
const verifier = new Verifier(trust, { tlogThreshold: 1, ctlogThreshold: 0, tsaThreshold: 0, timestampThreshold: 0 });
try {
  verifier.verify(toSignedEntity(bundleFromJSON(asked.bundle)));
} catch (error) {
  console.error(`${error.code || error.name}: ${error.message}`);
  process.exit(1);
}
