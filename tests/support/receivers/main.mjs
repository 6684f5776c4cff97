// Says of each line of stdin, a request with tabs between its parts, whether verify.mjs accepts it.
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const { verify } = await import(pathToFileURL(process.argv[2]));
for (const line of readFileSync(0, "utf8").trimEnd().split("\n")) {
  const [secret, webhookId, timestamp, signatures, body] = line.split("\t");
  console.log(verify(secret, webhookId, timestamp, signatures, Buffer.from(body)));
}
