// Temporary AWS keys for AWS's SDK, vended anew before they expire, by the service's clock, and once when S3 refuses them.

import { S3Client, type S3ClientConfig, type S3ServiceException } from '@aws-sdk/client-s3'

import type { Client } from './client/index.js'
import { issueCredentials } from './sdk.gen.js'
import { expect } from './token-store.js'
import type { Credentials, CredentialsRequest } from './types.gen.js'

/** What S3 says of keys that are over; engines other than AWS know only the second. */
const EXPIRED = ['ExpiredToken', 'InvalidAccessKeyId']
/** The status of what revoked keys are refused, and of whatever the user may not do: HEAD's answer has no code. */
const DENIED = 403
/** Milliseconds before their end that keys are replaced, as AWS's SDK does. */
const EARLY = 300_000
/** Milliseconds in which the service is not asked again about denied keys that it has said are still good. */
const PAUSE = 60_000

type Identity = { accessKeyId: string; secretAccessKey: string; sessionToken: string; expiration: Date }

/** Vends for one wish. Keys stay in memory. */
export class Vendor {
  /** The last answer of the service: bucket and prefix are in it. */
  vended: Credentials | null = null
  /** Milliseconds that the service's clock is ahead of this device's. */
  ahead = 0
  #identity: Identity | null = null
  #asking: Promise<Identity> | null = null
  #askAt = 0

  constructor(
    private readonly client: Client,
    private readonly wish: CredentialsRequest = {}
  ) {}

  /** A credential provider for any client of AWS's SDK, which asks again 5 minutes before `expiration`. */
  readonly provider = (): Promise<Identity> => (this.#asking ??= this.#vend().finally(() => (this.#asking = null)))

  /** A client for the bucket, wherever it is; it signs by the service's clock. */
  async s3(options: S3ClientConfig = {}): Promise<S3Client> {
    await this.provider()
    const { region, endpoint_url, force_path_style } = this.vended!
    const client = new S3Client({
      region,
      ...(endpoint_url && { endpoint: endpoint_url }),
      forcePathStyle: force_path_style,
      systemClockOffset: this.ahead,
      // Else the SDK cannot send a File from a page, and some engines refuse its trailing checksums.
      requestChecksumCalculation: 'WHEN_REQUIRED',
      credentials: async () => {
        const left = this.#identity!.expiration.getTime() - Date.now()
        const identity = left < EARLY ? await this.provider() : this.#identity!
        client.config.systemClockOffset = this.ahead
        return identity
      },
      ...options
    })
    client.middlewareStack.add(
      (next) => async (args) => {
        const { accessKeyId } = await client.config.credentials()
        try {
          return await next(args)
        } catch (error) {
          if (!(await this.#replaced(accessKeyId, error as S3ServiceException))) throw error
          await client.config.credentials({ forceRefresh: true })
          return next(args)
        }
      },
      { step: 'initialize', name: 'vendAnewOnce', priority: 'high' }
    )
    return client
  }

  async #vend(): Promise<Identity> {
    const vended = (this.vended = await expect(issueCredentials({ client: this.client, body: this.wish })))
    this.ahead = Date.parse(vended.server_time) - Date.now()
    return (this.#identity = {
      accessKeyId: vended.access_key_id,
      secretAccessKey: vended.secret_access_key,
      sessionToken: vended.session_token,
      // By this device's clock, which is the one that the SDK looks at.
      expiration: new Date(Date.now() + vended.expires_in * 1000)
    })
  }

  /** Whether there are other keys than those that S3 refused so. Asks the service once for all who were refused. */
  async #replaced(refused: string, { name, $metadata }: S3ServiceException): Promise<boolean> {
    const expired = EXPIRED.includes(name)
    if (!expired && $metadata?.httpStatusCode !== DENIED) return false
    const same = () => this.#identity!.accessKeyId === refused
    if (same() && (expired || performance.now() >= this.#askAt)) {
      try {
        await this.provider()
      } finally {
        this.#askAt = same() ? performance.now() + PAUSE : 0
      }
    }
    return !same()
  }
}
