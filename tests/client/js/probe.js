// What AWS's SDK for JavaScript does with nothing but its default chain: arguments bucket, own prefix, foreign prefix.
import { ListObjectsV2Command, PutObjectCommand, S3Client } from "@aws-sdk/client-s3";

const [bucket, own, foreign] = process.argv.slice(2);
const s3 = new S3Client({});
await s3.send(new PutObjectCommand({ Bucket: bucket, Key: `${own}by-js`, Body: "picture" }));
const listed = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: own }));
const refusal = await s3.send(new ListObjectsV2Command({ Bucket: bucket, Prefix: foreign })).catch((error) => error.name);
console.log(JSON.stringify({ own: listed.Contents.map(({ Key }) => Key), foreign: refusal }));
