// So that the app can be put on a home screen: a service worker keeps the page itself, and nothing of a person.

export function installShell() {
  if (!navigator.serviceWorker) return; // browsers have none on plain http, except at localhost
  const script = new URL("service-worker.js", import.meta.url);
  const scope = new URL("../demo", import.meta.url);
  navigator.serviceWorker.register(script, { scope, updateViaCache: "none" }).catch(() => {}); // the page works without
}
