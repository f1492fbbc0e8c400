// Where things are under a person's prefix: `albums/<album>/<picture>`, and a small rendition of each picture beside it, in
// `.renditions/` under the same name. So what shares, moves or deletes a folder takes its renditions along.

const ALBUMS = "albums/";
const RENDITIONS = ".renditions/";
const LONGEST_NAME = 60;

const split = (key) => {
  const cut = key.lastIndexOf("/") + 1;
  return [key.slice(0, cut), key.slice(cut)];
};

export const renditionOf = (key) => split(key).join(RENDITIONS);

const isRendition = (key) => key.includes(`/${RENDITIONS}`);

// Letters and digits of any script stay; the end of a long name is kept, for its extension.
function plainName(name) {
  const plain = name.normalize("NFC").replace(/[^\p{L}\p{N}._-]+/gu, "-").replace(/^[-.]+/, "");
  return [...plain].slice(-80).join("") || "picture";
}

// The folder for an album of that name, or "" where nothing is left of it. A path takes no `* ? $ \ "`, and no `/` within.
export function albumPath(name) {
  const plain = name.normalize("NFC").replace(/[\p{C}*?$\\"/]+/gu, " ").replace(/\s+/g, " ").replace(/^[ .]+/, "").trim();
  return plain && `${ALBUMS}${[...plain].slice(0, LONGEST_NAME).join("").trim()}/`;
}

export function thisMonth() {
  const moment = new Date().toISOString();
  return `${ALBUMS}${moment.slice(0, 4)}-${moment.slice(5, 7)}/`;
}

export function newKey(prefix, album, name) {
  const moment = new Date().toISOString().replace(/[:.-]/g, "");
  const random = crypto.getRandomValues(new Uint32Array(2)).reduce((text, n) => text + n.toString(36), "");
  return `${prefix}${album}${moment}-${random}-${plainName(name)}`;
}

export const movedTo = (prefix, album, key) => `${prefix}${album}${split(key)[1]}`;

// The album that a key is in, as a path under the prefix. None for what stands beside the albums.
export const albumOf = (prefix, key) => key.slice(prefix.length).match(/^albums\/[^/]+\//)?.[0] ?? null;

// The name that a person gave it, or a month of uploads.
export function sayAlbum(path) {
  const name = path.split("/").at(-2);
  const [, year, month] = name.match(/^(\d{4})-(0[1-9]|1[0-2])$/) ?? [];
  if (!year) return name;
  return new Intl.DateTimeFormat(undefined, { year: "numeric", month: "long" }).format(new Date(year, month - 1));
}

export const nameOf = (key) => split(key)[1].replace(/^\d{8}T\d{9}Z-[a-z0-9]+-/, "");

export const formatOf = (key) => key.match(/\.([a-z0-9]{2,5})$/i)?.[1].toUpperCase() ?? "";

// What a list of S3 means: pictures, each with whether a rendition of it is there, and the folders that were made.
export function sortOut(objects) {
  const byKey = new Map(objects.map((object) => [object.key, object]));
  const pictures = objects.filter(({ key }) => !key.endsWith("/") && !isRendition(key));
  return {
    photos: pictures.map((photo) => {
      const rendition = byKey.get(renditionOf(photo.key));
      // One that is older than the picture is of another picture, which had the name before.
      return { ...photo, hasRendition: rendition !== undefined && rendition.modified >= photo.modified };
    }),
    folders: objects.filter(({ key }) => key.endsWith("/") && !isRendition(key)).map(({ key }) => key),
  };
}
