// What AWS's own SDK signs, of policies on standard input; and the URL that the guide makes of an answer.
import { getSignedCookies, getSignedUrl } from "@aws-sdk/cloudfront-signer";
import { readFileSync } from "node:fs";

const { keyPairId, privateKey, guide, items } = JSON.parse(readFileSync(0, "utf-8"));
const url = new Function(`${guide}; return url;`)();

const answers = items.map(({ item, policy, key }) => ({
  url: getSignedUrl({ url: `${item.base_url}a.jpg`, policy, keyPairId, privateKey }),
  cookies: getSignedCookies({ policy, keyPairId, privateKey }),
  made: url(item, key),
}));
console.log(JSON.stringify(answers));
