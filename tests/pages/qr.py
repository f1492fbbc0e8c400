"""Reads a QR code from what the browser has painted, by another library than the one that drew it."""

import base64
from pathlib import Path

from playwright.sync_api import Locator, Page

from tests.support import node

PACKAGES = Path(__file__).parent / "uploads"
READ = """async ([library, picture]) => {
  const wrapped = new Function("module", "exports", library);
  const module = { exports: {} };
  wrapped(module, module.exports);
  const bytes = Uint8Array.from(atob(picture), (letter) => letter.charCodeAt(0));
  const bitmap = await createImageBitmap(new Blob([bytes]));
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
  canvas.drawImage(bitmap, 0, 0);
  const { data, width, height } = canvas.getImageData(0, 0, bitmap.width, bitmap.height);
  const found = (module.exports.default ?? module.exports)(data, width, height);
  return found?.data;
}"""


def read_qr(page: Page, drawing: Locator) -> str:
    node.install(PACKAGES)
    library = (PACKAGES / "node_modules" / "jsqr" / "dist" / "jsQR.js").read_text(encoding="utf-8")
    with page.context.new_page() as reader:  # the page itself lets nobody make a function of a text
        found: str | None = reader.evaluate(READ, [library, base64.b64encode(drawing.screenshot()).decode()])
    assert found is not None, "no QR code can be read"
    return found
