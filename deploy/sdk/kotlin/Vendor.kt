package tokenvend

import aws.smithy.kotlin.runtime.ServiceException
import aws.smithy.kotlin.runtime.auth.awscredentials.Credentials
import aws.smithy.kotlin.runtime.auth.awscredentials.CredentialsProvider
import aws.smithy.kotlin.runtime.collections.Attributes
import aws.smithy.kotlin.runtime.time.Instant
import java.time.Clock
import java.time.Duration
import java.time.OffsetDateTime
import kotlinx.coroutines.sync.Mutex
import kotlinx.coroutines.sync.withLock
import tokenvend.apis.CredentialsApi
import tokenvend.models.CredentialsRequest
import tokenvend.models.Credentials as Vended

/**
 * Temporary AWS keys for AWS's SDK, vended anew five minutes before they expire. They stay in memory.
 *
 * `S3Client { credentialsProvider = vendor }`; bucket, prefix, region and endpoint are in [vended].
 */
class Vendor(
    private val api: CredentialsApi,
    private val wish: CredentialsRequest = CredentialsRequest(),
    private val clock: Clock = Clock.systemUTC(),
) : CredentialsProvider {
    /** How much the service's clock is ahead of this device's. */
    var ahead: Duration = Duration.ZERO
        private set

    private val mutex = Mutex()
    private var last: Vended? = null
    private var renewAt = 0L
    private var askAt = System.nanoTime()

    override suspend fun resolve(attributes: Attributes): Credentials {
        val keys = vended()
        // By this device's clock, which is the one that the SDK looks at.
        val expiration = keys.expiration.minus(ahead).toEpochSecond()
        val epoch = Instant.fromEpochSeconds(expiration, 0)
        return Credentials(keys.accessKeyId, keys.secretAccessKey, keys.sessionToken, epoch, "tokenvend")
    }

    /** The last answer of the service. Whoever asks while keys are vended waits for the one vend. */
    suspend fun vended(): Vended = mutex.withLock {
        last?.takeIf(::lasts) ?: vend()
    }

    /** Runs [call], and once more with new keys where S3 says that the old ones are over, or they were revoked. */
    suspend fun <T> withFreshKeys(call: suspend () -> T): T {
        val used = vended()
        try {
            return call()
        } catch (refusal: ServiceException) {
            if (!replaced(used, refusal.sdkErrorMetadata.errorCode)) throw refusal
        }
        return call()
    }

    /** Whether there are other keys than those that S3 refused so. Asks the service once for all who were refused. */
    private suspend fun replaced(refused: Vended, code: String?): Boolean = mutex.withLock {
        if (code != DENIED && code !in EXPIRED) return false
        fun same() = last?.accessKeyId == refused.accessKeyId
        if (same() && (code != DENIED || System.nanoTime() >= askAt)) {
            try {
                vend()
            } finally {
                askAt = System.nanoTime() + if (same()) PAUSE * 1_000_000_000L else 0
            }
        }
        !same()
    }

    private suspend fun vend(): Vended = api.issueCredentials(wish).also {
        ahead = Duration.between(OffsetDateTime.now(clock), it.serverTime)
        renewAt = System.nanoTime() + (it.expiresIn - EARLY) * 1_000_000_000L
        last = it
    }

    /** The monotonic clock stands still while some devices sleep, so the other one has to agree. */
    private fun lasts(keys: Vended): Boolean =
        System.nanoTime() < renewAt &&
            OffsetDateTime.now(clock).plus(ahead).plusSeconds(EARLY.toLong()).isBefore(keys.expiration)

    private companion object {
        /** Seconds before their end that keys are replaced. */
        const val EARLY = 300

        /** What S3 says of keys that are over; engines other than AWS know only the second. */
        val EXPIRED = setOf("ExpiredToken", "InvalidAccessKeyId")

        /** What S3 says of revoked keys, and of whatever the user may not do. */
        const val DENIED = "AccessDenied"

        /** Seconds in which the service is not asked again about denied keys that it has said are still good. */
        const val PAUSE = 60
    }
}
