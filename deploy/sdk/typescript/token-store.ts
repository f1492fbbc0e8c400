// A signed-in session: every call of the generated client carries its access token, which renews itself.

import { createClient, type Client } from './client/index.js'
import { answerMfaChallenge, logIn, logOut, refreshSession } from './sdk.gen.js'
import type { LoginRequest, LoginResult, MfaChallenge, MfaRequest, Problem, TokenSet } from './types.gen.js'

/** Seconds before its end that an access token is renewed. */
const EARLY = 60
/** Milliseconds in which a refresh whose answer was lost is sent again; the service repeats its answer for 30 s. */
const LOST_FOR = 25_000
/** Milliseconds after which an answer is lost, so that there is time to ask again. */
const PATIENCE = 8_000

/** The service said no, and why: `problem.code`. */
export class Refused extends Error {
  constructor(readonly problem: Problem) {
    super(`${problem.code}: ${problem.detail} (request ${problem.request_id})`)
  }
}

/** There is no session, or none any more: sign in. */
export class SignedOut extends Error {}

type Answer<T> = { data?: T; error?: Problem; response?: Response }

/** What a generated function answers with. Throws `Refused`, or what broke the connection. */
export async function expect<T>(call: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await call
  if (response?.ok) return data as T
  throw isProblem(error) ? new Refused(error) : error
}

function isProblem(error: unknown): error is Problem {
  return typeof error === 'object' && error !== null && 'code' in error && 'request_id' in error
}

export interface TokenStoreOptions {
  /** Of the last start, where there is one. */
  refreshToken?: string
  /** Gets each refresh token before anything else is done with it, and null when there is none any more. */
  save?: (refreshToken: string | null) => void | Promise<void>
}

/** One signed-in device. The access token stays in memory. */
export class TokenStore {
  /** For the generated functions: `{ client: store.client }`. */
  readonly client: Client
  readonly #public: Client
  readonly #save: NonNullable<TokenStoreOptions['save']>
  #refreshToken: string | null
  #accessToken: string | null = null
  #renewAt = 0
  #renewal: Promise<void> | null = null

  constructor(baseUrl: string, { refreshToken, save }: TokenStoreOptions = {}) {
    this.#refreshToken = refreshToken ?? null
    let saved: Promise<void> = Promise.resolve()
    // One after the other: a slow one does not overwrite a later one.
    this.#save = (token) => (saved = saved.catch(() => undefined).then(() => save?.(token)))
    this.#public = createClient({ baseUrl })
    this.client = createClient({ baseUrl, fetch: (input, init) => this.#fetch(new Request(input, init)) })
  }

  /** The challenge of the second factor, where the user has one. */
  async logIn(body: LoginRequest): Promise<MfaChallenge | null> {
    return this.#begin(await expect(logIn({ client: this.#public, body })))
  }

  async answer(body: MfaRequest): Promise<void> {
    await this.#begin(await expect(answerMfaChallenge({ client: this.#public, body })))
  }

  /** Forgets the session, also where the service cannot be told, which is then thrown. */
  async logOut(): Promise<void> {
    const refresh_token = this.#refreshToken
    try {
      await this.#forget()
    } finally {
      if (refresh_token) await expect(logOut({ client: this.#public, body: { refresh_token } }))
    }
  }

  /** Goes on with these: of a sign-in, a refresh or a step-up. */
  async adopt(tokens: TokenSet): Promise<void> {
    this.#refreshToken = tokens.refresh_token
    this.#accessToken = tokens.access_token
    this.#renewAt = performance.now() + (tokens.expires_in - EARLY) * 1000
    await this.#save(tokens.refresh_token)
  }

  /** One that is not `spent`. Whoever asks while it is renewed waits for the one renewal. */
  async accessToken(spent: string | null = null): Promise<string> {
    if (!this.#accessToken || this.#accessToken === spent || performance.now() >= this.#renewAt) {
      this.#renewal ??= this.#renew().finally(() => (this.#renewal = null))
      await this.#renewal
    }
    if (!this.#accessToken) throw new SignedOut('The session has ended.')
    return this.#accessToken
  }

  async #fetch(request: Request): Promise<Response> {
    const token = await this.accessToken()
    const again = request.clone()
    request.headers.set('Authorization', `Bearer ${token}`)
    const response = await fetch(request)
    if (response.status !== 401 || !response.headers.get('WWW-Authenticate')?.includes('invalid_token')) return response
    again.headers.set('Authorization', `Bearer ${await this.accessToken(token)}`)
    return fetch(again)
  }

  async #begin({ tokens, mfa }: LoginResult): Promise<MfaChallenge | null> {
    if (tokens) await this.adopt(tokens)
    return mfa
  }

  async #renew(): Promise<void> {
    if (!this.#refreshToken) throw new SignedOut()
    const tokens = await this.#refresh(this.#refreshToken)
    if (tokens) await this.adopt(tokens)
  }

  /** Null where another session, or none, has taken its place meanwhile. */
  async #refresh(sent: string): Promise<TokenSet | null> {
    const giveUpAt = performance.now() + LOST_FOR
    for (let pause = 500; this.#refreshToken === sent; pause *= 2) {
      const signal = AbortSignal.timeout(PATIENCE)
      try {
        const tokens = await expect(refreshSession({ client: this.#public, body: { refresh_token: sent }, signal }))
        return this.#refreshToken === sent ? tokens : null
      } catch (error) {
        if (this.#refreshToken !== sent) return null
        const status = error instanceof Refused ? error.problem.status : 503
        if (status === 401) {
          await this.#forget()
          throw new SignedOut('The session has ended.', { cause: error })
        }
        if (status < 500 || performance.now() + pause > giveUpAt) throw error
      }
      await new Promise((resolve) => setTimeout(resolve, pause))
    }
    return null
  }

  async #forget(): Promise<void> {
    this.#refreshToken = this.#accessToken = null
    await this.#save(null)
  }
}
