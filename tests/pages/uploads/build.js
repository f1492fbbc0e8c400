// Bundles page.js for a browser into the directory that is named.
import { build } from "esbuild";

const local = (name) => new URL(name, import.meta.url).pathname;

await build({
  entryPoints: [local("page.js")],
  outdir: process.argv[2],
  bundle: true,
  format: "iife",
  platform: "browser",
  define: { global: "globalThis" },
  inject: [local("node-globals.js")],
  alias: {
    crypto: "crypto-browserify",
    http: "stream-http",
    https: "https-browserify",
    path: "path-browserify",
    stream: "stream-browserify",
    timers: "timers-browserify",
  },
  plugins: [
    {
      name: "no-files",
      setup: ({ onResolve }) => onResolve({ filter: /^(node:)?fs(\/promises)?$/ }, () => ({ path: local("no-files.cjs") })),
    },
  ],
  logLevel: "error",
});
