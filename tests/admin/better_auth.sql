-- What better-auth 1.7.25 made in SQLite of two users, without their sessions.
BEGIN TRANSACTION;
CREATE TABLE "account" ("id" text not null primary key, "accountId" text not null, "providerId" text not null, "userId" text not null references "user" ("id") on delete cascade, "accessToken" text, "refreshToken" text, "idToken" text, "accessTokenExpiresAt" date, "refreshTokenExpiresAt" date, "scope" text, "password" text, "createdAt" date not null, "updatedAt" date not null);
INSERT INTO "account" VALUES('v7b8Bjsj3FfXFBEgCLshUbMuHsC7LqbQ','kKuIqRCfr1BDXVaTKba4BxFGMfsuleNk','credential','kKuIqRCfr1BDXVaTKba4BxFGMfsuleNk',NULL,NULL,NULL,NULL,NULL,NULL,'34dbe61ac3eeee1183dc7680dc394282:4b4e990500823b8360c6ca56e3061a7d0fc36d869e60f353f5324f85fc7333a6a17ab1f3d13cfad749b558885777119fb7af0de53637ef08ef1ba92ee707da18','2026-12-01T02:14:15.299Z','2026-12-01T02:14:15.299Z');
INSERT INTO "account" VALUES('Y2d6M7jMkRzfXm8xWAClW4365svl0g12','1234','google','k4SL4a5ybD1yt0tTS7uWbZC6Hm7VdaQH',NULL,NULL,NULL,NULL,NULL,NULL,NULL,'2026-12-01T02:14:15.411Z','2026-12-01T02:14:15.411Z');
CREATE TABLE "session" ("id" text not null primary key, "expiresAt" date not null, "token" text not null unique, "createdAt" date not null, "updatedAt" date not null, "ipAddress" text, "userAgent" text, "userId" text not null references "user" ("id") on delete cascade);
CREATE TABLE "user" ("id" text not null primary key, "name" text not null, "email" text not null unique, "emailVerified" integer not null, "image" text, "createdAt" date not null, "updatedAt" date not null);
INSERT INTO "user" VALUES('kKuIqRCfr1BDXVaTKba4BxFGMfsuleNk','Ada Lovelace','ada@example.org',1,NULL,'2026-12-01T02:14:15.279Z','2026-12-01T02:14:15.365Z');
INSERT INTO "user" VALUES('k4SL4a5ybD1yt0tTS7uWbZC6Hm7VdaQH','Grace Hopper','grace@example.org',0,NULL,'2026-12-01T02:14:15.396Z','2026-12-01T02:14:15.396Z');
CREATE TABLE "verification" ("id" text not null primary key, "identifier" text not null, "value" text not null, "expiresAt" date not null, "createdAt" date not null, "updatedAt" date not null);
CREATE INDEX "session_userId_idx" on "session" ("userId");
CREATE INDEX "account_userId_idx" on "account" ("userId");
CREATE INDEX "verification_identifier_idx" on "verification" ("identifier");
COMMIT;
