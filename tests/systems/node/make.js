// Hashes by libraries of Node, with their own costs.

import { createHash } from "node:crypto";
import { readFileSync } from "node:fs";

import { hash as byRust } from "@node-rs/argon2";
import argon2 from "argon2";
import bcrypt from "bcrypt";
import bcryptjs from "bcryptjs";
import { hashPassword } from "better-auth/crypto";
import drupal from "drupal-hash";
import { LegacyScrypt, Scrypt as LuciaScrypt } from "lucia";
import { Argon2id, Bcrypt, Scrypt } from "oslo/password";

// Payload does not export the function, so it comes from its file.
const payload = new URL("node_modules/payload/dist/auth/strategies/local/generatePasswordSaltHash.js", import.meta.url);
const { generatePasswordSaltHash } = await import(payload);
const byPayload = async (password) => {
  const req = { payload: { config: {} }, t: (text) => text };
  const { salt, hash } = await generatePasswordSaltHash({ collection: { slug: "users" }, password, req });
  return `${salt}:${hash}`;
};

const { passwords } = JSON.parse(readFileSync(0, "utf8"));
const sha256 = (password) => createHash("sha256").update(password, "utf8").digest("hex");

const KINDS = [
  ["@node-rs/argon2", "@node-rs/argon2", "$argon2id$v=19$m=19456,t=2,p=1$…", (password) => byRust(password)],
  ["argon2 (Directus)", "argon2", "$argon2id$v=19$m=65536,t=3,p=4$…", (password) => argon2.hash(password)],
  ["bcrypt (Keystone, Feathers)", "bcrypt", "$2b$10$…", (password) => bcrypt.hash(password, 10)],
  ["bcryptjs (Strapi, Parse)", "bcryptjs", "$2b$10$…", (password) => bcryptjs.hash(password, 10)],
  ["better-auth", "better-auth", "salt:key", (password) => hashPassword(password)],
  ["oslo, scrypt", "oslo", "salt:key", (password) => new Scrypt().hash(password)],
  ["oslo, argon2", "oslo", "$argon2id$…", (password) => new Argon2id().hash(password)],
  ["oslo, bcrypt", "oslo", "$2y$10$…", (password) => new Bcrypt().hash(password)],
  ["Lucia", "lucia", "salt:key", (password) => new LuciaScrypt().hash(password)],
  ["Lucia 2", "lucia", "s2:salt:key", (password) => new LegacyScrypt().hash(password)],
  ["Payload", "payload", "salt:pbkdf2-sha256-…:key", byPayload],
  ["Drupal 7, by drupal-hash", "drupal-hash", "$S$…", (password) => drupal.hashPassword(password)],
  // Meteor is no package: its accounts-password hashes this with the package bcrypt.
  ["Meteor, by bcrypt", "bcrypt", "$2b$10$…", (password) => bcrypt.hash(sha256(password), 10), "meteor"],
];

const made = [];
for (const [system, packageName, stored, hashed, prehash = ""] of KINDS) {
  const hashes = {};
  for (const [name, password] of Object.entries(passwords)) {
    try {
      hashes[name] = await hashed(password);
    } catch {
      hashes[name] = null;
    }
  }
  const manifest = new URL(`node_modules/${packageName}/package.json`, import.meta.url);
  const { version } = JSON.parse(readFileSync(manifest, "utf8"));
  made.push({ system, version, stored, hashes, prehash });
}
console.log(JSON.stringify(made));
