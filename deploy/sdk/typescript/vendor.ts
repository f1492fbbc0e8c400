// Temporary AWS keys for AWS's SDK, vended anew before they expire, by the service's clock, and once when S3 refuses them.

import { S3Client, type S3ClientConfig } from '@aws-sdk/client-s3'

import type { Client } from './client/index.js'
import { issueCredentials } from './sdk.gen.js'
import { expect } from './token-store.js'
import type { Credentials, CredentialsRequest } from './types.gen.js'

/** What S3 says of keys that are over; engines other than AWS know only the second. */
const EXPIRED = ['ExpiredToken', 'InvalidAccessKeyId']

type Identity = { accessKeyId: string; secretAccessKey: string; sessionToken: string; expiration: Date }

/** Vends for one wish. Keys stay in memory. */
export class Vendor {
  /** The last answer of the service: bucket and prefix are in it. */
  vended: Credentials | null = null
  /** Milliseconds that the service's clock is ahead of this device's. */
  ahead = 0

  constructor(
    private readonly client: Client,
    private readonly wish: CredentialsRequest = {}
  ) {}

  /** A credential provider for any client of AWS's SDK, which asks again 5 minutes before `expiration`. */
  readonly provider = async (): Promise<Identity> => {
    const vended = (this.vended = await expect(issueCredentials({ client: this.client, body: this.wish })))
    this.ahead = Date.parse(vended.server_time) - Date.now()
    return {
      accessKeyId: vended.access_key_id,
      secretAccessKey: vended.secret_access_key,
      sessionToken: vended.session_token,
      // By this device's clock, which is the one that the SDK looks at.
      expiration: new Date(Date.now() + vended.expires_in * 1000)
    }
  }

  /** A client for the bucket, wherever it is; it signs by the service's clock. */
  async s3(options: S3ClientConfig = {}): Promise<S3Client> {
    let waiting: Identity | null = await this.provider()
    const { region, endpoint_url, force_path_style } = this.vended!
    const client = new S3Client({
      region,
      ...(endpoint_url && { endpoint: endpoint_url }),
      forcePathStyle: force_path_style,
      systemClockOffset: this.ahead,
      credentials: async () => {
        const identity = waiting ?? (await this.provider())
        waiting = null
        client.config.systemClockOffset = this.ahead
        return identity
      },
      ...options
    })
    client.middlewareStack.add(
      (next) => async (args) => {
        try {
          return await next(args)
        } catch (error) {
          if (!EXPIRED.includes((error as Error).name)) throw error
          await client.config.credentials({ forceRefresh: true })
          return next(args)
        }
      },
      { step: 'initialize', name: 'vendAnewOnce', priority: 'high' }
    )
    return client
  }
}
