// What the guide's code uses of AWS's SDK for Kotlin, with its names and shapes: the tests cannot fetch the SDK itself.

package aws.sdk.kotlin.services.s3

import aws.smithy.kotlin.runtime.auth.awscredentials.CredentialsProvider
import aws.smithy.kotlin.runtime.content.ByteStream
import aws.smithy.kotlin.runtime.net.url.Url

interface S3Client {
    class Builder {
        var region: String? = null
        var credentialsProvider: CredentialsProvider? = null
        var endpointUrl: Url? = null
        var forcePathStyle: Boolean = false
    }

    companion object {
        operator fun invoke(block: Builder.() -> Unit): S3Client = error("for the compiler alone")
    }
}

class PutObject {
    var bucket: String? = null
    var key: String? = null
    var body: ByteStream? = null
}

suspend fun S3Client.putObject(block: PutObject.() -> Unit): Unit = error("for the compiler alone")
