// What Vendor.kt uses of AWS's SDK for Kotlin, with the SDK's names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime.auth.awscredentials

import aws.smithy.kotlin.runtime.collections.Attributes
import aws.smithy.kotlin.runtime.time.Instant

interface Credentials {
    val accessKeyId: String
    val secretAccessKey: String
    val sessionToken: String?
    val expiration: Instant?

    companion object {
        operator fun invoke(
            accessKeyId: String,
            secretAccessKey: String,
            sessionToken: String? = null,
            expiration: Instant? = null,
            providerName: String? = null,
        ): Credentials = Static(accessKeyId, secretAccessKey, sessionToken, expiration)
    }
}

private class Static(
    override val accessKeyId: String,
    override val secretAccessKey: String,
    override val sessionToken: String?,
    override val expiration: Instant?,
) : Credentials

interface CredentialsProvider {
    suspend fun resolve(attributes: Attributes): Credentials
}
