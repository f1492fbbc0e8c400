// What Vendor.kt uses of AWS's SDK for Kotlin, with the SDK's names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime

open class ServiceErrorMetadata(val errorCode: String?)

open class ServiceException(val sdkErrorMetadata: ServiceErrorMetadata) : RuntimeException(sdkErrorMetadata.errorCode)
