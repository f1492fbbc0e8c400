// Why S3 refused something: the service knows the policies, and the engine tells nobody.

import { explainAccess } from "./api.js";
import { REASONS } from "./pictures/texts.js";

const asked = new Map();
const MOST_KEPT = 50;

async function ask(question) {
  try {
    const { reason, detail } = await explainAccess(question);
    return { reason, text: REASONS[reason] ?? REASONS.other, detail };
  } catch {
    return null; // the refusal stands without its explanation
  }
}

// Many pictures of one folder are refused for one reason, so the service is asked once for a folder.
export function whyRefused({ action, key, accessKeyId }) {
  const about = `${accessKeyId} ${action} ${key.slice(0, key.lastIndexOf("/"))}`;
  if (!asked.has(about)) {
    if (asked.size >= MOST_KEPT) asked.clear();
    asked.set(about, ask({ action, key, access_key_id: accessKeyId }));
  }
  return asked.get(about);
}

export const forgetReasons = () => asked.clear();
