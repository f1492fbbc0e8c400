// Credentials that can be handed out again, and one issuance for all who ask for the same at once.

export class CredentialCache {
  #entries = new Map()
  #flights = new Map()
  #most

  constructor(most) {
    this.#most = most
  }

  async obtain(key, issue) {
    const entry = this.#entries.get(key)
    if (entry !== undefined && fresh(entry)) return entry
    let flight = this.#flights.get(key)
    if (flight === undefined) {
      flight = this.#issue(key, issue)
      this.#flights.set(key, flight)
    }
    return flight
  }

  async #issue(key, issue) {
    try {
      const issued = await issue()
      this.#entries.delete(key)
      this.#entries.set(key, issued)
      if (this.#entries.size > this.#most) this.#entries.delete(this.#entries.keys().next().value)
      return issued
    } finally {
      this.#flights.delete(key)
    }
  }
}

function fresh({ issuedAt, expiresAt }) {
  return expiresAt - Date.now() > (expiresAt - issuedAt) / 2
}
