// What a program in another language does with Kinestream's messages, for tests/test_interop_node.py.
//
//   node messages.mjs read < packed          prints the message as JSON, bytes as {"base64": …}
//   node messages.mjs write < JSON > packed  the reverse
//
// Not for: anything that knows Kinestream; this is msgpack as the library does it when nothing is configured.

import { readFileSync, writeFileSync } from "node:fs";
import { decode, encode } from "@msgpack/msgpack";

const input = readFileSync(0);

function bytesAsBase64(key, value) {
  // JSON.stringify has already turned a Uint8Array into a plain object, so look at the original.
  const original = this[key];
  return original instanceof Uint8Array ? { base64: Buffer.from(original).toString("base64") } : value;
}

function base64AsBytes(key, value) {
  return typeof value?.base64 === "string" ? new Uint8Array(Buffer.from(value.base64, "base64")) : value;
}

switch (process.argv[2]) {
  case "read":
    process.stdout.write(JSON.stringify(decode(input), bytesAsBase64));
    break;
  case "write":
    writeFileSync(1, encode(JSON.parse(input.toString(), base64AsBytes)));
    break;
  default:
    console.error("usage: node messages.mjs read|write");
    process.exit(2);
}
