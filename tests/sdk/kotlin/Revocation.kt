/** An app in Kotlin whose keys are revoked: `RevocationKt URL PHOTOGRAPH` tells what it saw as JSON. */

import aws.sdk.kotlin.services.s3.putObject
import aws.smithy.kotlin.runtime.ServiceException
import aws.smithy.kotlin.runtime.content.asByteStream
import java.io.File
import java.util.UUID
import kotlin.system.exitProcess
import kotlinx.coroutines.Dispatchers
import kotlinx.coroutines.async
import kotlinx.coroutines.awaitAll
import kotlinx.coroutines.coroutineScope
import kotlinx.coroutines.runBlocking
import kotlinx.serialization.json.add
import kotlinx.serialization.json.buildJsonObject
import kotlinx.serialization.json.put
import kotlinx.serialization.json.putJsonArray
import okhttp3.OkHttpClient
import tokenvend.TokenStore
import tokenvend.Vendor
import tokenvend.apis.AccountsApi
import tokenvend.apis.CredentialsApi
import tokenvend.models.LoginRequest
import tokenvend.models.RegisterRequest

object RevocationApp {
    suspend fun run(url: String, photograph: File) = coroutineScope {
        val http = OkHttpClient()
        val email = "${UUID.randomUUID()}@example.org"
        AccountsApi(url, http).registerUser(RegisterRequest(email = email, password = PASSWORD))
        val store = TokenStore(url, http = http) {}
        store.logIn(LoginRequest(email = email, password = PASSWORD, deviceName = "Ada's phone"))
        val api = CredentialsApi(url, store.client)
        val vendor = Vendor(api)
        val photos = vendor.vended()
        val s3 = s3(vendor)

        suspend fun put(name: String): String {
            vendor.withFreshKeys {
                s3.putObject { bucket = photos.bucket; key = name; body = photograph.asByteStream() }
            }
            return name
        }

        suspend fun refusal(key: String): String? = try {
            put(key)
            null
        } catch (refusal: ServiceException) {
            refusal.sdkErrorMetadata.errorCode
        }

        val keys = mutableListOf(put("${photos.prefix}0.jpg"))
        api.revokeCredentials()
        keys += List(5) { async(Dispatchers.IO) { put("${photos.prefix}${it + 1}.jpg") } }.awaitAll()
        val denied = List(3) { refusal("users/0.jpg") }
        api.revokeCredentials()
        val paused = refusal(keys.first())
        println(
            buildJsonObject {
                putJsonArray("keys") { keys.forEach(::add) }
                putJsonArray("denied") { denied.forEach(::add) }
                put("paused", paused)
                putJsonArray("read") {}
            }
        )
    }
}

fun main(arguments: Array<String>) {
    val (url, photograph) = arguments
    runBlocking { RevocationApp.run(url, File(photograph)) }
    exitProcess(0)
}
