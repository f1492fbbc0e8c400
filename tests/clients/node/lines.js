// The other end of `driving.Lines`: an act a line, as a JSON array, and an answer a line.
import { readFileSync } from "node:fs";
import { createInterface } from "node:readline";

const say = (answer) => console.log("=", JSON.stringify(answer));

/** `make()` gives an object that has the acts as functions. It is called for the first act, whose answer its failure is. */
export async function serve(name, make) {
  const about = new URL(`node_modules/${name}/package.json`, import.meta.url);
  say({ version: JSON.parse(readFileSync(about, "utf8")).version });
  let store;
  for await (const line of createInterface({ input: process.stdin })) {
    const [act, ...args] = JSON.parse(line);
    try {
      store ??= await make();
      say({ done: await store[act](...args) });
    } catch (error) {
      say({ says: `${error.name}: ${error.message}` });
    }
  }
}
