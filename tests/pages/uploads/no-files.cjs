// In the place of Node's `fs`: a page has no files by name.
const none = () => {
  throw new Error("a page has no files by name");
};
module.exports = { fstat: none, lstat: none, promises: {} };
