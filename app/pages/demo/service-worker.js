// Keeps the files of the page, so that it opens without a line. The list of them is all that is ever kept: no answer of
// the service's API, no request to S3, no picture. While there is a line the page comes from the service, so that a new
// version is seen at once.

const PAGE = new URL("../demo", self.location);
const FOLDER = new URL(".", self.location).pathname;
const LIST = new URL("shell.json", self.location);
const OURS = `shell of ${PAGE.pathname}: `; // other apps may be on this host
const FILE = /\.(js|css|svg|png)$|\/manifest\.json$/;

const isShell = ({ origin, pathname }) =>
  origin === PAGE.origin && (pathname === PAGE.pathname || (pathname.startsWith(FOLDER) && FILE.test(pathname)));

// All files of one version, or none of them.
async function keep() {
  const { version, files } = await (await fetch(LIST, { cache: "no-store", credentials: "omit" })).json();
  const cache = await caches.open(OURS + version);
  if (!(await cache.match(PAGE))) {
    const addresses = [PAGE, ...files.map((file) => new URL(file, self.location))];
    await cache.addAll(addresses.map((address) => new Request(address, { cache: "no-cache", credentials: "omit" })));
  }
  const names = await caches.keys();
  await Promise.all(names.filter((name) => name.startsWith(OURS) && name !== OURS + version).map((name) => caches.delete(name)));
}

async function find(address) {
  const names = (await caches.keys()).filter((name) => name.startsWith(OURS));
  for (const name of names) {
    const kept = await (await caches.open(name)).match(address);
    if (kept) return kept;
  }
  return Response.error();
}

self.addEventListener("install", (event) => event.waitUntil(keep().then(() => self.skipWaiting())));

self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));

self.addEventListener("fetch", (event) => {
  const { method, mode, url } = event.request;
  const address = new URL(url);
  if (method !== "GET" || !isShell(address)) return;
  address.search = "";
  address.hash = "";
  event.respondWith(fetch(event.request).catch(() => find(address)));
  if (mode === "navigate") event.waitUntil(keep().catch(() => {}));
});
