// The person's signed-in devices, each of which can be signed out from here.

import * as api from "./api.js";
import { announce, byId, part, sayTime, stamp } from "./shared/dom.js";

function makeRow(session, signOut) {
  const row = stamp("device-row");
  const isHere = session.current;
  const name = session.device_name ?? "Unnamed device";
  part(row, "name").textContent = name;
  part(row, "since").textContent = isHere ? "This device" : `Since ${sayTime(new Date(session.created_at))}`;
  const button = part(row, "end");
  button.setAttribute("aria-label", isHere ? "Sign out here" : `Sign out ${name}`);
  button.addEventListener("click", async () => {
    if (isHere) return signOut();
    await api.endSession(session.session_id).then(
      () => announce(`${name} is signed out. A credential it already holds lives until it expires.`),
      (problem) => announce(api.explain(problem)),
    );
    await loadDevices(signOut);
    byId("devices").querySelector("button")?.focus(); // the button that had the focus is gone
  });
  return row;
}

export async function loadDevices(signOut) {
  try {
    const sessions = await api.listSessions();
    byId("devices").replaceChildren(...sessions.map((session) => makeRow(session, signOut)));
  } catch (problem) {
    byId("devices").textContent = api.explain(problem);
  }
}

export const clearDevices = () => byId("devices").replaceChildren();
