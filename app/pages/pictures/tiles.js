// A tile of the grid: one picture, small, with its name. `thumbnails.js` fills it.

import { part, sayBytes, sayTime, stamp } from "../shared/dom.js";
import { formatOf, nameOf } from "./folders.js";

export const newestFirst = (a, b) => b.modified - a.modified || (a.key < b.key ? 1 : -1);

export function makeTile(photo, open) {
  const tile = stamp("photo-tile");
  const name = nameOf(photo.key);
  tile.dataset.key = photo.key;
  const button = tile.querySelector("button");
  button.setAttribute("aria-label", `${name}, ${sayBytes(photo.size)}, ${sayTime(photo.modified)}`);
  button.addEventListener("click", () => open(photo.key));
  part(tile, "name").textContent = name;
  part(tile, "format").dataset.format = formatOf(photo.key); // painted, not read: the name ends in it
  return tile;
}
