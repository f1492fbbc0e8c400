-- Two roles of a fresh database `tokenvend`, by its administrator: one owns the tables and runs `tokenvend migrate`, the
-- other serves, and can neither change the schema nor drop the triggers that keep the audit append-only.
-- May be run again. On RDS both sign in by IAM alone; elsewhere give each a password: ALTER ROLE … PASSWORD '…'.
DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tokenvend_owner') THEN
        CREATE ROLE tokenvend_owner LOGIN;
    END IF;
    IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'tokenvend') THEN
        CREATE ROLE tokenvend LOGIN;
    END IF;
    IF EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam') THEN
        GRANT rds_iam TO tokenvend_owner, tokenvend;
    END IF;
    -- RDS's administrator is no superuser: only a member may give away what is the role's.
    EXECUTE format('GRANT tokenvend_owner TO %I', current_user);
    EXECUTE format('ALTER DATABASE %I OWNER TO tokenvend_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tokenvend, %I', current_database(), current_user);
END
$$;
ALTER SCHEMA public OWNER TO tokenvend_owner;
REVOKE ALL ON SCHEMA public FROM PUBLIC;
GRANT USAGE ON SCHEMA public TO tokenvend;
ALTER DEFAULT PRIVILEGES FOR ROLE tokenvend_owner IN SCHEMA public
    GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tokenvend;
ALTER DEFAULT PRIVILEGES FOR ROLE tokenvend_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO tokenvend;
-- RDS lets whoever is in rds_iam, through another role too, sign in by IAM alone: the administrator has a password.
DO $$ BEGIN EXECUTE format('REVOKE tokenvend_owner FROM %I', current_user); END $$;
