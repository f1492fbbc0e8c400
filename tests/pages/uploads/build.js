// Bundles a page's script, or page.js, for a browser into the directory that is named first.
import { build } from "esbuild";

const local = (name) => new URL(name, import.meta.url).pathname;

await build({
  entryPoints: [local(process.argv[3] ?? "page.js")],
  outdir: process.argv[2],
  bundle: true,
  format: "iife",
  platform: "browser",
  define: { global: "globalThis" },
  inject: [local("node-globals.js")],
  alias: {
    // The generated client has its own beside it.
    "@aws-sdk/client-s3": local("node_modules/@aws-sdk/client-s3"),
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
