// Prepared once for each connection, by their names. RECORD is one transaction in one trip.

export const LOOK_UP = {
  name: 'look_up',
  text: `SELECT s.user_id, u.status, u.role, s.authenticated_at, s.expires_at, s.ended_at
    FROM sessions s JOIN users u ON u.id = s.user_id WHERE s.id = $1`
}

export const RECORD = {
  name: 'record',
  text: `WITH alive AS (
      SELECT s.id FROM sessions s JOIN users u ON u.id = s.user_id
      WHERE s.id = $3 AND s.ended_at IS NULL AND u.status = 'active' FOR SHARE
    ), ledger AS (
      INSERT INTO issued_credentials (id, user_id, session_id, access_key_id, access, prefix, role_session_name,
        sts_request_id, issued_at, expires_at)
      SELECT $1::uuid, $2::uuid, $3::uuid, $4, $5, $6, $7, $8, $9::timestamptz, $10::timestamptz FROM alive
    )
    INSERT INTO audit_events (at, event, outcome, actor_id, subject_id, session_id, request_id, address, detail)
    SELECT $9::timestamptz, 'credential.issued', 'done', $2::uuid, $2::uuid, $3::uuid, $11, $12, $13::json FROM alive`
}
