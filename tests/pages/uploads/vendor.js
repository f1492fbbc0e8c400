// A page that uploads with the generated client for TypeScript, as its guide shows it.
import { PutObjectCommand } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";

import { createClient } from "../../../build/sdk/typescript/dist/client/index.js";
import { registerUser } from "../../../build/sdk/typescript/dist/sdk.gen.js";
import { expect, TokenStore } from "../../../build/sdk/typescript/dist/token-store.js";
import { Vendor } from "../../../build/sdk/typescript/dist/vendor.js";

const bytes = (size) => Uint8Array.from({ length: size }, (_, index) => index % 251);
const film = (size) => new File([bytes(size)], "film.mov", { type: "video/quicktime" });

/** Uploads in each of the ways. Tells the keys. */
globalThis.uploadAll = async (email, password, sizes) => {
  const url = location.origin;
  await expect(registerUser({ client: createClient({ baseUrl: url }), body: { email, password } }));
  const store = new TokenStore(url);
  await store.logIn({ email, password, device_name: "a page" });
  const vendor = new Vendor(store.client);
  const client = await vendor.s3();
  const { bucket: Bucket, prefix } = vendor.vended;
  const keys = {};
  for (const size of sizes) {
    const [put, parts] = [`${prefix}${size}-put.mov`, `${prefix}${size}-parts.mov`];
    await client.send(new PutObjectCommand({ Bucket, Key: put, Body: film(size) }));
    await new Upload({ client, params: { Bucket, Key: parts, Body: film(size) } }).done();
    keys[put] = keys[parts] = size;
  }
  return keys;
};
