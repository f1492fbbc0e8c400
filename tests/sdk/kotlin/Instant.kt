// What Vendor.kt uses of AWS's SDK for Kotlin, with the SDK's names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime.time

class Instant private constructor(val epochSeconds: Long, val nanosecondsOfSecond: Int) {
    companion object {
        fun fromEpochSeconds(seconds: Long, ns: Int): Instant = Instant(seconds, ns)
    }
}
