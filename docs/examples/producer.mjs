// Offers JPEG files as the frames of a camera:  node producer.mjs CAMERA live|every-frame FILE.jpg…
// Needs:  npm install ioredis @msgpack/msgpack  and, for the scripts:  kinestream scripts lua
import { randomUUID } from "node:crypto";
import { readFileSync } from "node:fs";
import { setTimeout as sleep } from "node:timers/promises";
import { encode } from "@msgpack/msgpack";
import Redis from "ioredis";

const [camera, lane, ...files] = process.argv.slice(2);
const [LIVE_ROOM, EVERY_FRAME_ROOM, STREAM_BYTES, LEDGER_S, RESULTS] = [3, 64, 2 ** 28, 86400, [300000, 2 ** 28]];
const key = (...parts) => ["ks:{0}", ...parts].join(":");
const packed = (message) => Buffer.from(encode({ version: 1, camera, ...message }));
const redis = new Redis(process.env.KINESTREAM_REDIS_URL ?? "redis://localhost:6379");
// ioredis calls a script by its SHA-1, and sends the text when the server replies NOSCRIPT.
for (const [name, numberOfKeys] of Object.entries({ begin: 6, offer: 5, finish: 5 }))
  redis.defineCommand(name, { numberOfKeys, lua: readFileSync(`lua/${name}.lua`, "utf8") });

function sizeOfJpeg(data) { // from the start-of-frame segment
  for (let at = 2; at + 9 <= data.length; at += 2 + data.readUInt16BE(at + 2))
    if (data[at + 1] >= 0xc0 && data[at + 1] <= 0xcf && ![0xc4, 0xc8, 0xcc].includes(data[at + 1]))
      return { height: data.readUInt16BE(at + 5), width: data.readUInt16BE(at + 7) };
  return { height: 1, width: 1 }; // no JPEG: the worker will say so
}

const token = randomUUID();
let run, keys;
for (let reply = "moved"; reply !== "ok"; ) {
  const before = (await redis.hget(key("cameras"), camera)) ?? "";
  const produced = Number((await redis.hget(key("ledger", camera, before), "produced")) ?? 0);
  run = Math.max(Number((await redis.time())[0]), Number(before) + 1);
  keys = [key("cameras"), key("active"), key("frames", camera), key("ledger", camera, run), key("results")];
  const end = packed({ run: Number(before) || 1, seq: produced, status: "end", cause: "next-run" });
  reply = await redis.begin(keys[0], keys[1], keys[4], keys[2], keys[3], key("ledger", camera, before),
    camera, run, before, produced, end, LEDGER_S, token, lane, "producer.mjs", ...RESULTS);
}

const room = lane === "live" ? LIVE_ROOM : EVERY_FRAME_ROOM;
for (const [seq, file] of files.entries()) {
  const [data, captured_us] = [readFileSync(file), Date.now() * 1000];
  const facts = { run, seq, captured_us, ...sizeOfJpeg(data) };
  const frame = packed({ ...facts, view: [0, 0, facts.width, facts.height], codec: "jpeg", data, lane });
  const ifDropped = packed({ ...facts, status: "dropped", cause: "no-room" });
  for (let reply = "full", pause_ms = 10; reply === "full"; pause_ms = Math.min(1.5 * pause_ms, 500)) {
    [reply] = await redis.offer(keys, camera, run, token, seq, frame, ifDropped, lane, room, STREAM_BYTES,
      "", "", "", ...RESULTS);
    if (reply === "fenced" || reply === "lost") throw new Error(`run ${run} is ${reply} at frame ${seq}`);
    if (reply === "full") await sleep(pause_ms);
  }
}
const end = packed({ run, seq: files.length, status: "end" });
const [reply] = await redis.finish(keys, camera, run, token, files.length, end, LEDGER_S, "", "", "", "", ...RESULTS);
console.log(`${camera} run ${run}: ${files.length} frames, ${reply}`);
redis.disconnect();
