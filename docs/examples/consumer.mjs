// Prints every record from the oldest one on, until a run of CAMERA is complete:  node consumer.mjs CAMERA
import { decode } from "@msgpack/msgpack";
import Redis from "ioredis";

const redis = new Redis(process.env.KINESTREAM_REDIS_URL ?? "redis://localhost:6379");
const due = new Map(); // run -> frames that its `end` announced, less those that have come: the `end` may be first
for (let last = "0", number = null, complete = false; !complete; ) {
  const reply = await redis.xreadBuffer("COUNT", 100, "BLOCK", 1000, "STREAMS", "ks:{0}:results", last);
  for (const [id, [, packed]] of reply?.[0][1] ?? []) {
    const before = number;
    [last, number] = [id.toString(), Number(id.toString().split("-")[1])];
    if (before !== null && number > before + 1) console.error(`${number - before - 1} records were trimmed`);
    let record;
    try {
      record = decode(packed);
    } catch {
      continue; // somebody else's mistake is no reason to stop
    }
    console.log(JSON.stringify(record));
    if (record.camera !== process.argv[2]) continue;
    const frames = record.status === "end" ? record.seq : record.seq - 1 - (record.seq_to ?? record.seq);
    due.set(record.run, (due.get(record.run) ?? 0) + frames);
    complete ||= due.get(record.run) === 0;
  }
}
redis.disconnect();
