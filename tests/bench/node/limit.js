// So many for each key in each minute of the clock, in memory.

const WINDOW = 60_000

export class RateLimit {
  #counts = new Map()
  #window = 0
  #most

  constructor(most) {
    this.#most = most
  }

  // Seconds to wait, or 0.
  hit(key) {
    const now = Date.now()
    const window = Math.floor(now / WINDOW)
    if (window !== this.#window) {
      this.#window = window
      this.#counts.clear()
    }
    const count = (this.#counts.get(key) ?? 0) + 1
    this.#counts.set(key, count)
    return count > this.#most ? Math.ceil(((window + 1) * WINDOW - now) / 1000) : 0
  }
}
