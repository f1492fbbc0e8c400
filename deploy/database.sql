-- Two roles of a fresh database `tokenvend`, by its administrator: one owns the tables and runs `tokenvend migrate`, the
-- other serves, and can neither change the schema nor drop the triggers that keep the audit append-only.
-- All of it or nothing; run again, it changes nothing. On RDS both sign in by IAM alone; elsewhere give each a password:
-- ALTER ROLE … PASSWORD '…'.
BEGIN;
DO $$
DECLARE
    administrator CONSTANT name := current_user;
    by_iam CONSTANT boolean := EXISTS (SELECT FROM pg_roles WHERE rolname = 'rds_iam');
BEGIN
    IF EXISTS (SELECT FROM pg_database WHERE datname = current_database() AND datdba = to_regrole('tokenvend_owner')) THEN
        RETURN;
    END IF;
    -- RDS takes no password from whoever is in rds_iam, through another role too; and from PostgreSQL 16 on, who makes a
    -- role is in it for good. So a role makes them that is gone at the end, or the administrator would be locked out.
    IF by_iam THEN
        CREATE ROLE tokenvend_maker CREATEROLE;
        EXECUTE format('GRANT tokenvend_maker TO %I', administrator);
        SET LOCAL ROLE tokenvend_maker;
    END IF;
    IF to_regrole('tokenvend_owner') IS NULL THEN
        CREATE ROLE tokenvend_owner LOGIN;
    END IF;
    IF to_regrole('tokenvend') IS NULL THEN
        CREATE ROLE tokenvend LOGIN;
    END IF;
    -- RDS's administrator is no superuser: only a member may give away what is the role's.
    EXECUTE format('GRANT tokenvend_owner TO %I', administrator);
    RESET ROLE;
    IF by_iam THEN
        GRANT rds_iam TO tokenvend_owner, tokenvend;
    END IF;

    EXECUTE format('ALTER DATABASE %I OWNER TO tokenvend_owner', current_database());
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('GRANT CONNECT ON DATABASE %I TO tokenvend, %I', current_database(), administrator);
    ALTER SCHEMA public OWNER TO tokenvend_owner;
    REVOKE ALL ON SCHEMA public FROM PUBLIC;
    GRANT USAGE ON SCHEMA public TO tokenvend;
    ALTER DEFAULT PRIVILEGES FOR ROLE tokenvend_owner IN SCHEMA public
        GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO tokenvend;
    ALTER DEFAULT PRIVILEGES FOR ROLE tokenvend_owner IN SCHEMA public GRANT USAGE, SELECT ON SEQUENCES TO tokenvend;

    IF by_iam THEN
        SET LOCAL ROLE tokenvend_maker;
    END IF;
    EXECUTE format('REVOKE tokenvend_owner FROM %I', administrator);
    RESET ROLE;
    IF by_iam THEN
        DROP ROLE tokenvend_maker;
    END IF;
END
$$;
COMMIT;
