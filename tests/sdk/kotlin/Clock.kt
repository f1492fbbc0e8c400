/**
 * An app in Kotlin on a device whose clock is off: `ClockKt URL PHOTOGRAPH HOURS` tells what it saw as JSON.
 *
 * It uploads in parts, and its keys are over before the last one.
 */

import aws.sdk.kotlin.services.s3.completeMultipartUpload
import aws.sdk.kotlin.services.s3.createMultipartUpload
import aws.sdk.kotlin.services.s3.model.CompletedPart
import aws.sdk.kotlin.services.s3.uploadPart
import aws.smithy.kotlin.runtime.content.ByteStream
import java.io.File
import java.time.Clock
import java.time.Duration
import java.util.UUID
import kotlin.system.exitProcess
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

const val PART = 5 * 1024 * 1024

/** The device's. */
class Off(var off: Duration) : Clock() {
    override fun instant() = systemUTC().instant().plus(off)
    override fun getZone() = systemUTC().zone
    override fun withZone(zone: java.time.ZoneId) = this
}

object ClockApp {
    suspend fun run(url: String, photograph: File, hours: Long) {
        val http = OkHttpClient()
        val clock = Off(Duration.ofHours(hours))
        val email = "${UUID.randomUUID()}@example.org"
        AccountsApi(url, http).registerUser(RegisterRequest(email = email, password = PASSWORD))
        val store = TokenStore(url, http = http) {}
        store.logIn(LoginRequest(email = email, password = PASSWORD, deviceName = "Ada's phone"))
        val api = CredentialsApi(url, store.client)
        val vendor = Vendor(api, clock = clock)
        val photos = vendor.vended()
        val film = photograph.readBytes().copyOf(PART + 1000)
        val name = "${photos.prefix}film.mov"
        val s3 = s3(vendor)

        val upload = vendor.withFreshKeys {
            s3.createMultipartUpload { bucket = photos.bucket; key = name }.uploadId
        }
        val used = mutableListOf<String>()
        val done = listOf(film.copyOf(PART), film.copyOfRange(PART, film.size)).mapIndexed { index, data ->
            val part = vendor.withFreshKeys {
                s3.uploadPart {
                    bucket = photos.bucket
                    key = name
                    uploadId = upload
                    partNumber = index + 1
                    body = ByteStream.fromBytes(data)
                }
            }
            used += vendor.vended().accessKeyId
            if (index == 0) {
                api.revokeCredentials() // so that the next ones are others
                clock.off = clock.off.plusMinutes(6)
            }
            CompletedPart { partNumber = index + 1; eTag = part.eTag; checksumCrc32 = part.checksumCrc32 }
        }
        vendor.withFreshKeys {
            s3.completeMultipartUpload {
                bucket = photos.bucket
                key = name
                uploadId = upload
                multipartUpload { parts = done }
            }
        }
        println(
            buildJsonObject {
                put("key", name)
                put("size", film.size)
                putJsonArray("used") { used.forEach(::add) }
            }
        )
    }
}

fun main(arguments: Array<String>) {
    val (url, photograph, hours) = arguments
    runBlocking { ClockApp.run(url, File(photograph), hours.toLong()) }
    exitProcess(0)
}
