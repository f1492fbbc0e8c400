// What an import makes of each column or member of a file, by its source. A test compares it with the readers.

export const COLUMNS = {
  "tokenvend": [
    ["email", "Address"],
    ["email_verified", "Whether the address is verified"],
    ["display_name", "Name"],
    ["password_hash", "Password, which works as before"],
    ["status", "Whether the account is disabled"],
    ["created_at", "When the account was made"],
    ["role", "Not taken: everybody becomes a user"],
    ["id", "Not taken: each account gets a new id"]
  ],
  "cognito": [
    ["email", "Address"],
    ["email_verified", "Whether the address is verified"],
    ["name", "Name"],
    ["given_name", "Name, together with family_name, where there is no name"],
    ["family_name", "Name, together with given_name"],
    ["enabled", "Whether the account is disabled"],
    ["user_status", "EXTERNAL_PROVIDER: the user has no password there"],
    ["created_at", "When the account was made"],
    ["cognito:mfa_enabled", "Not taken: the user sets up a new second factor"]
  ],
  "firebase": [
    ["email", "Address"],
    ["emailVerified", "Whether the address is verified"],
    ["displayName", "Name"],
    ["passwordHash", "Password, which works as before"],
    ["salt", "A part of the password’s hash"],
    ["disabled", "Whether the account is disabled"],
    ["createdAt", "When the account was made"]
  ],
  "supabase": [
    ["email", "Address"],
    ["email_confirmed_at", "Whether the address is verified"],
    ["raw_user_meta_data", "Name: its display_name, full_name or name"],
    ["encrypted_password", "Password, which works as before"],
    ["banned_until", "Whether the account is disabled: as long as this is ahead"],
    ["deleted_at", "A user who was deleted is not taken"],
    ["created_at", "When the account was made"],
    ["is_sso_user", "A user of single sign-on without a password is not taken"]
  ],
  "auth0": [
    ["email", "Address"],
    ["email_verified", "Whether the address is verified"],
    ["identifiers", "Address, where there is no email"],
    ["name", "Name"],
    ["given_name", "Name, where there is no name"],
    ["family_name", "Name, where there is no name"],
    ["passwordHash", "Password, which works as before"],
    ["custom_password_hash", "Password, where there is no passwordHash"],
    ["blocked", "Whether the account is disabled"],
    ["created_at", "When the account was made"]
  ],
  "clerk": [
    ["primary_email_address", "Address"],
    ["verified_email_addresses", "Whether the address is verified: it is among these"],
    ["first_name", "Name, together with last_name"],
    ["last_name", "Name, together with first_name"],
    ["username", "Name, where there is no other"],
    ["password_digest", "Password, which works as before"],
    ["password_hasher", "How the password_digest is read"],
    ["totp_secret", "Not taken: the user sets up a new second factor"]
  ],
  "django": [
    ["email", "Address"],
    ["username", "Address, where there is no email and this is one"],
    ["email_verified", "Whether the address is verified, in models of your own"],
    ["first_name", "Name, together with last_name"],
    ["last_name", "Name, together with first_name"],
    ["password", "Password, which works as before"],
    ["is_active", "Whether the account is disabled"],
    ["date_joined", "When the account was made"],
    ["is_staff", "Not taken: everybody becomes a user"],
    ["is_superuser", "Not taken: everybody becomes a user"]
  ],
  "keycloak": [
    ["email", "Address"],
    ["username", "Address, where there is no email and this is one"],
    ["emailVerified", "Whether the address is verified"],
    ["firstName", "Name, together with lastName"],
    ["lastName", "Name, together with firstName"],
    ["credentials", "Password, which works as before"],
    ["enabled", "Whether the account is disabled"],
    ["createdTimestamp", "When the account was made"]
  ],
  "parse": [
    ["email", "Address"],
    ["username", "Address, where there is no email and this is one"],
    ["emailVerified", "Whether the address is verified"],
    ["name", "Name"],
    ["_hashed_password", "Password, which works as before"],
    ["_created_at", "When the account was made"]
  ],
  "appwrite": [
    ["email", "Address"],
    ["emailVerification", "Whether the address is verified"],
    ["name", "Name"],
    ["password", "Password, which works as before"],
    ["hash", "How the password is read"],
    ["hashOptions", "How a password of Firebase’s scrypt is read"],
    ["status", "Whether the account is disabled"],
    ["registration", "When the account was made"],
    ["mfa", "Not taken: the user sets up a new second factor"]
  ],
  "kratos": [
    ["traits", "Address and name: its email and name"],
    ["verifiable_addresses", "Whether the address is verified"],
    ["credentials", "Password, which works as before"],
    ["state", "Whether the account is disabled"],
    ["created_at", "When the account was made"]
  ],
  "ldif": [
    ["mail", "Address"],
    ["displayName", "Name"],
    ["cn", "Name, where there is no displayName"],
    ["userPassword", "Password, which works as before"],
    ["createTimestamp", "When the account was made"],
    ["nsAccountLock", "Whether the account is disabled"],
    ["pwdAccountLockedTime", "Whether the account is disabled"],
    ["userAccountControl", "Whether the account is disabled"]
  ]
};
