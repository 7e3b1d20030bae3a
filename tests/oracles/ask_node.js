// Asks Node's crypto about signatures: node ask_node.js FILE, a JSON array of {spki, signature, message} in base64.
// Prints a JSON array of booleans, one a signature.
const crypto = require('crypto');
const fs = require('fs');

const bytes = (text) => Buffer.from(text, 'base64');
const verdicts = JSON.parse(fs.readFileSync(process.argv[2])).map((asked) => {
  const key = crypto.createPublicKey({ key: bytes(asked.spki), format: 'der', type: 'spki' });
  const digest = key.asymmetricKeyType === 'ec' ? 'sha256' : null;
  return crypto.verify(digest, bytes(asked.message), key, bytes(asked.signature));
});
console.log(JSON.stringify(verdicts));
