import { AwsClient } from "aws4fetch";
import { readFile, writeFile } from "node:fs/promises";
import { serve } from "./lines.js";
import { vended } from "./vended.js";

await serve("aws4fetch", async () => {
  const keys = vended();
  const send = async (method, target, options = {}) => {
    const { access_key_id, secret_access_key, session_token, region, endpoint_url, bucket } = await keys();
    const client = new AwsClient({
      accessKeyId: access_key_id,
      secretAccessKey: secret_access_key,
      sessionToken: session_token,
      service: "s3",
      region,
    });
    const url = `${endpoint_url ?? process.env.AWS_ENDPOINT_URL_S3}/${bucket}${target}`;
    const answer = await client.fetch(url, { method, ...options });
    if (!answer.ok) throw new Error(`${answer.status} ${(await answer.text()).match(/<Code>.*?<\/Code>/)?.[0] ?? ""}`);
    return answer;
  };
  const path = (key) => `/${key.split("/").map(encodeURIComponent).join("/")}`;
  return {
    up: async (file, key) => {
      await send("PUT", path(key), { body: await readFile(file) });
    },
    names: async (prefix) => {
      const text = await (await send("GET", `?list-type=2&prefix=${encodeURIComponent(prefix)}`)).text();
      return [...text.matchAll(/<Key>(.*?)<\/Key>/g)].map(([, key]) => key);
    },
    down: async (key, file) => writeFile(file, Buffer.from(await (await send("GET", path(key))).arrayBuffer())),
    async move(key, to) {
      await send("PUT", path(to), { headers: { "x-amz-copy-source": `/${process.env.BUCKET}${path(key)}` } });
      await this.remove(key);
    },
    remove: async (key) => {
      await send("DELETE", path(key));
    },
  };
});
