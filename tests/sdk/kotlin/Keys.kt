/** Runs the guide's code: `KeysKt PHOTOGRAPH EMAIL`. */

import java.io.File
import kotlin.system.exitProcess
import kotlinx.coroutines.runBlocking

/** Of the guide's code: an app's own class over the Keystore. */
interface Keys {
    fun read(): String?
    fun write(refreshToken: String?)
}

class InMemory : Keys {
    private var kept: String? = null
    override fun read() = kept
    override fun write(refreshToken: String?) {
        kept = refreshToken
    }
}

fun main(arguments: Array<String>) {
    val (photograph, email) = arguments
    runBlocking { upload(File(photograph), email, PASSWORD, InMemory()) }
    exitProcess(0)
}
