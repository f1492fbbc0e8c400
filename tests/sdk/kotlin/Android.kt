/** `AndroidKt SIGNATURE PATH …` prints what the classes there use of Java that Android lacks, a line for each. */

import java.io.File
import org.codehaus.mojo.animal_sniffer.SignatureChecker
import org.codehaus.mojo.animal_sniffer.logging.PrintWriterLogger

val LIBRARIES = setOf("aws.*", "kotlin.*", "kotlinx.*", "okhttp3.*", "okio.*", "org.*", "tokenvend.*")

fun main(arguments: Array<String>) {
    val checker = SignatureChecker(File(arguments.first()).inputStream(), LIBRARIES, PrintWriterLogger(System.out))
    checker.setSourcePath(emptyList())
    arguments.drop(1).forEach { checker.process(File(it)) }
}

/** Shows that the check can fail: Android has no such client. */
fun absent(): Any = java.net.http.HttpClient.newHttpClient()
