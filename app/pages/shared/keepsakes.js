// What a person has to keep, shown once: the secret for an authenticator app and the recovery codes. Each can be copied;
// the secret can be scanned too, and the codes can be saved as a file.

import { announce } from "./dom.js";
import { drawQr } from "./qr.js";

const make = (name, properties, ...children) => {
  const made = Object.assign(document.createElement(name), properties);
  made.append(...children);
  return made;
};

const button = (label, act) => {
  const made = make("button", { type: "button", textContent: label });
  made.addEventListener("click", act);
  return made;
};

// Where the browser lets no page copy, such as on http, the text is selected instead.
async function copy(text, shown, what) {
  try {
    await navigator.clipboard.writeText(text);
    announce(`${what} copied.`);
  } catch {
    getSelection().selectAllChildren(shown);
    announce("Your browser does not let this page copy. The text is selected: copy it yourself.");
  }
}

function save(text, name) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
  make("a", { href: url, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(url), 60_000); // the browser reads the object after the click returns
}

const inGroups = (secret) => secret.match(/.{1,4}/g).join(" ");

export function showSecret({ secret, otpauth_uri: uri }) {
  const shown = make("code", { textContent: inGroups(secret) });
  shown.dataset.testid = "totp-secret";
  const words = make("div", { className: "keepsake-words" },
    make("p", { textContent: "Scan this with an authenticator app, or give the app this secret:" }),
    shown,
    make("div", { className: "keepsake-acts" },
      button("Copy the secret", () => copy(secret, shown, "The secret is")),
      make("a", { href: uri, className: "keepsake-here", textContent: "Open an app on this device" })));
  return make("div", { className: "keepsake with-qr" }, drawQr(uri, "QR code of the secret"), words);
}

export function showCodes(codes) {
  const list = make("div", { className: "recovery-codes" }, ...codes.map((code) => make("code", { textContent: code })));
  list.dataset.testid = "recovery-codes";
  const text = codes.join("\n");
  const file = `Recovery codes for ${location.host}. Each signs you in once.\n\n${text}\n`;
  const acts = make("div", { className: "keepsake-acts" },
    button("Copy the codes", () => copy(text, list, "The codes are")),
    button("Save as a file", () => save(file, `recovery-codes-${location.hostname}.txt`)));
  return make("div", { className: "keepsake" }, list, acts);
}
