// A page that uploads with the libraries that such pages use, each as its guide shows it. `target` is an answer of
// `POST /v1/credentials`.
import { GetObjectCommand, HeadObjectCommand, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";
import { Upload } from "@aws-sdk/lib-storage";
import AwsS3 from "@uppy/aws-s3";
import Uppy from "@uppy/core";
import { Client as Minio } from "minio";

const keys = (target) => ({
  accessKeyId: target.access_key_id,
  secretAccessKey: target.secret_access_key,
  sessionToken: target.session_token,
});

const client = (target) =>
  new S3Client({
    region: target.region,
    endpoint: target.endpoint_url,
    forcePathStyle: target.force_path_style,
    credentials: keys(target),
  });

/** So many bytes that a test can make too. */
const bytes = (size) => {
  const made = new Uint8Array(size);
  for (let index = 0; index < size; index += 1) made[index] = index % 251;
  return made;
};

globalThis.upload = {
  async "lib-storage"(target, key, size) {
    const params = { Bucket: target.bucket, Key: key, Body: new Blob([bytes(size)]) };
    await new Upload({ client: client(target), params }).done();
  },

  async uppy(target, key, size) {
    const uppy = new Uppy().use(AwsS3, {
      s3Endpoint: `${target.endpoint_url}/${target.bucket}`,
      region: target.region,
      getCredentials: async () => ({ credentials: keys(target), region: target.region }),
      generateObjectKey: () => key,
    });
    uppy.addFile({ name: "film.mov", type: "video/quicktime", data: new Blob([bytes(size)]) });
    const { failed } = await uppy.upload();
    if (failed.length > 0) throw new Error(failed[0].error);
  },

  async minio(target, key, size) {
    const { hostname, port, protocol } = new URL(target.endpoint_url);
    const { accessKeyId: accessKey, secretAccessKey: secretKey, sessionToken } = keys(target);
    const place = { endPoint: hostname, port: Number(port), useSSL: protocol === "https:", region: target.region };
    // Before it uploads in parts, minio lists unfinished uploads. No vended credential may do so: so it gets one part.
    const partSize = 5 * 2 ** 30;
    const options = { sessionToken, partSize, pathStyle: target.force_path_style };
    const minio = new Minio({ ...place, accessKey, secretKey, ...options });
    await minio.putObject(target.bucket, key, Buffer.from(bytes(size)), size);
  },
};

/** What a page reads of an object that it puts with metadata of its own. */
globalThis.describe = async (target, key, Metadata) => {
  const s3 = client(target);
  const place = { Bucket: target.bucket, Key: key };
  await s3.send(new PutObjectCommand({ ...place, Body: "picture", Metadata }));
  const { Metadata: read, ETag } = await s3.send(new HeadObjectCommand(place));
  const { ContentRange } = await s3.send(new GetObjectCommand({ ...place, Range: "bytes=0-2" }));
  return { metadata: read, etag: ETag, range: ContentRange };
};
