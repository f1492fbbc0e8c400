// Wiring: who is signed in decides which of the two screens is shown, and leaving one leaves nothing behind.

import { clearAccount, loadAccount, loadUsage, wireAccount } from "./account.js";
import { wireAlbums } from "./albums.js";
import * as api from "./api.js";
import * as credential from "./credential.js";
import { clearDevices, loadDevices } from "./devices.js";
import { announce, byId, hush } from "./shared/dom.js";
import * as gallery from "./gallery.js";
import { clearPasskeys, loadPasskeys, wirePasskeys } from "./passkeys.js";
import { startPanel, stopPanel, wirePanel } from "./panel.js";
import { wireRenaming } from "./renaming.js";
import { clearReceived, loadReceived, onOpenReceived } from "./received.js";
import { clearRefusals, wireRefusals } from "./refusal.js";
import { closeSharing, wireSharing } from "./sharing.js";
import { installShell } from "./shell.js";
import { setNotice, wireSignIn } from "./sign-in.js";
import { watchMailbox } from "./mailbox.js";
import { onUploaded, stopAll, wireUploads } from "./uploads.js";
import { closeViewer, openViewer, wireViewer } from "./viewer.js";

function showScreen(name) {
  byId("welcome").hidden = name !== "welcome";
  byId("album").hidden = name !== "album";
  byId("account").hidden = name !== "album";
  scrollTo(0, 0);
  byId(`${name}-heading`).focus();
}

async function enter() {
  try {
    await Promise.all([loadAccount(), credential.fresh()]);
  } catch (problem) {
    // Signed in, but of no use without a credential: back to where the problem can be read and tried again.
    leave();
    await api.logOut().catch(() => {});
    throw problem;
  }
  hush();
  showScreen("album");
  startPanel();
  gallery.load();
  loadReceived();
  loadDevices(signOut);
  loadPasskeys();
  loadUsage().catch(() => {});
}

function leave(notice = "") {
  stopAll();
  closeViewer();
  closeSharing();
  gallery.clear();
  clearReceived();
  stopPanel();
  clearRefusals();
  clearDevices();
  clearPasskeys();
  clearAccount();
  credential.drop();
  byId("who").textContent = "";
  setNotice(notice);
  showScreen("welcome");
}

async function signOut() {
  leave();
  try {
    await api.logOut();
    announce("You are signed out.");
  } catch {
    setNotice("Signed out here. The service could not be told, so the session shows under your devices until it ends.");
  }
}

function start() {
  if (!globalThis.crypto?.subtle) {
    setNotice("This page signs its requests with the browser’s Web Crypto, which needs https:// or localhost.");
    byId("submit").disabled = true;
    return;
  }
  api.onSessionEnd(() => leave("Your session has ended. Please sign in again."));
  onUploaded(gallery.add);
  wireAlbums(gallery.show);
  wireRenaming();
  gallery.onOpen(openViewer);
  onOpenReceived(openViewer);
  wireSignIn(enter);
  wirePasskeys(enter);
  wireAccount(() => leave("Your account is deleted."));
  wireUploads();
  wireViewer();
  wireSharing();
  wirePanel();
  wireRefusals();
  watchMailbox(() => loadAccount().catch(() => {}));
  byId("sign-out").addEventListener("click", signOut);
  byId("retry-list").addEventListener("click", gallery.load);
  byId("refresh").addEventListener("click", () => Promise.all([gallery.load(), loadReceived(), loadUsage().catch(() => {})]));
  // The tokens end with the page, so the session they belong to should not outlive it.
  addEventListener("pagehide", ({ persisted }) => { if (!persisted) api.logOut({ leaving: true }).catch(() => {}); });
}

start();
installShell();
