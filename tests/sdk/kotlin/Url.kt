// What the guide's code uses of AWS's SDK for Kotlin, with its names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime.net.url

interface Url {
    companion object {
        fun parse(value: String): Url = error("for the compiler alone")
    }
}
