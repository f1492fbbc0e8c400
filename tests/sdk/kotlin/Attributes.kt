// What Vendor.kt uses of AWS's SDK for Kotlin, with the SDK's names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime.collections

interface Attributes
