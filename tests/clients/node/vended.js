// Keys by your own code, from `POST /v1/credentials`, asked for again when they are about to end.
import { readFileSync } from "node:fs";

const EARLY = 60_000;

/** An async function that gives an answer of `POST /v1/credentials` with a minute left, or what is left of half of it. */
export function vended() {
  let answer;
  let until = 0;
  return async () => {
    if (answer === undefined || Date.now() >= until) {
      const response = await fetch(`${process.env.SERVICE}/v1/credentials`, {
        method: "POST",
        headers: {
          Authorization: `Bearer ${readFileSync(process.env.TOKEN_FILE, "utf8")}`,
          "Content-Type": "application/json",
        },
        body: "{}",
      });
      const content = await response.json();
      if (!response.ok) throw new Error(content.detail);
      answer = content;
      const left = Date.parse(content.expiration) - Date.now();
      until = Date.now() + left - Math.min(EARLY, left / 2);
    }
    return answer;
  };
}
