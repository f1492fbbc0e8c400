// A QR code as a drawing: black on white in every colour scheme, because many apps read nothing else.

import { encode } from "../vendor/uqr/uqr.esm.js";

const SVG = "http://www.w3.org/2000/svg";
const MARGIN = 4; // modules, by ISO/IEC 18004

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

export function drawQr(text, label) {
  const { size, data } = encode(text, { ecc: "M", border: MARGIN });
  const modules = data.flatMap((row, y) => row.map((isDark, x) => (isDark ? `M${x} ${y}h1v1h-1z` : "")));
  const drawing = element("svg", { class: "qr", viewBox: `0 0 ${size} ${size}`, role: "img", "aria-label": label });
  drawing.append(element("path", { d: modules.join("") }));
  return drawing;
}
