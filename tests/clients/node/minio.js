import { Client, CopyDestinationOptions, CopySourceOptions } from "minio";
import { serve } from "./lines.js";
import { vended } from "./vended.js";

await serve("minio", async () => {
  const keys = vended();
  const bucket = process.env.BUCKET;
  const client = async () => {
    const { access_key_id, secret_access_key, session_token, region, endpoint_url } = await keys();
    const { hostname, port, protocol } = new URL(endpoint_url ?? process.env.AWS_ENDPOINT_URL_S3);
    return new Client({
      endPoint: hostname,
      port: Number(port),
      useSSL: protocol === "https:",
      region,
      accessKey: access_key_id,
      secretKey: secret_access_key,
      sessionToken: session_token,
    });
  };
  return {
    up: async (file, key) => {
      await (await client()).fPutObject(bucket, key, file);
    },
    names: async (prefix) => {
      const names = [];
      for await (const { name } of (await client()).listObjectsV2(bucket, prefix, true)) names.push(name);
      return names;
    },
    down: async (key, file) => (await client()).fGetObject(bucket, key, file),
    async move(key, to) {
      const source = new CopySourceOptions({ Bucket: bucket, Object: key });
      await (await client()).copyObject(source, new CopyDestinationOptions({ Bucket: bucket, Object: to }));
      await this.remove(key);
    },
    remove: async (key) => (await client()).removeObject(bucket, key),
  };
});
