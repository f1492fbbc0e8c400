// What the guide's code uses of AWS's SDK for Kotlin, with its names and shapes: the tests cannot fetch the SDK itself.

package aws.smithy.kotlin.runtime.content

import java.io.File

interface ByteStream

fun File.asByteStream(): ByteStream = error("for the compiler alone")
