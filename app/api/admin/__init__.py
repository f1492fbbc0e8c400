"""The routes of this feature, one file an action or noun."""

from app.api.admin import (
    access_keys,
    audit_events,
    events,
    exports,
    imports,
    links,
    stats,
    status,
    user_acts,
    user_email,
    user_grants,
    user_notes,
    user_ways_in,
    users,
)

ROUTERS = (
    users.router,
    user_email.router,
    user_ways_in.router,
    user_grants.router,
    user_notes.router,
    users.counts,
    user_acts.router,
    links.router,
    audit_events.router,
    events.router,
    access_keys.router,
    stats.router,
    status.router,
    imports.router,
    exports.router,
)
