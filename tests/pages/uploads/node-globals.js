// The globals of Node that minio and its packages take for granted.
export { Buffer } from "buffer";
export { default as process } from "process";
