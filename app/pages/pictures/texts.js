// What S3's refusals and the service's reasons for them mean to the person who looks at the page.

export const S3_TEXTS = {
  AccessDenied: "S3 did not allow it.",
  Offline: "You are offline.",
  NoAnswer: "S3 did not answer.",
  NoSuchKey: "The picture is not there any more.",
  NoSuchUpload: "S3 does not know this upload any more.",
  SlowDown: "S3 is busy. Try again.",
  EntityTooLarge: "The file is larger than S3 takes.",
  InsufficientStorage: "The store has no room left.",
  RequestTimeTooSkewed: "The clock of this device is wrong.",
  NoETag: "The rules of the bucket hide from this page what it needs for a large file.",
  quota_exceeded: "Your storage is full. Delete something first. Room shows after a minute or so.",
};

export const REASONS = {
  allowed: "The policies allow it, so the refusal has another cause.",
  session_policy: "The policy of this credential does not allow it.",
  role_policy: "The role behind this credential does not allow it.",
  explicit_deny: "A policy forbids it.",
  not_evaluable: "Only the engine can tell why.",
  revoked: "This credential was revoked.",
  expired: "This credential has expired.",
  other: "The policies do not allow it.",
};
