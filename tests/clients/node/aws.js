import {
  CopyObjectCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  S3Client,
} from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import { createReadStream, createWriteStream } from "node:fs";
import { pipeline } from "node:stream/promises";
import { serve } from "./lines.js";

await serve("@aws-sdk/client-s3", () => {
  const s3 = new S3Client({ forcePathStyle: true });
  const Bucket = process.env.BUCKET;
  return {
    up: async (file, Key) => {
      await new Upload({ client: s3, params: { Bucket, Key, Body: createReadStream(file) } }).done();
    },
    names: async (Prefix) => {
      const { Contents = [] } = await s3.send(new ListObjectsV2Command({ Bucket, Prefix }));
      return Contents.map(({ Key }) => Key);
    },
    down: async (Key, file) => {
      const { Body } = await s3.send(new GetObjectCommand({ Bucket, Key }));
      await pipeline(Body, createWriteStream(file));
    },
    async move(key, to) {
      await s3.send(new CopyObjectCommand({ Bucket, Key: to, CopySource: encodeURI(`${Bucket}/${key}`) }));
      await this.remove(key);
    },
    remove: async (Key) => {
      await s3.send(new DeleteObjectCommand({ Bucket, Key }));
    },
  };
});
